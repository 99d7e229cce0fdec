"""Any text around any secret: it is taken out, once is enough, and hashes stay as they are."""

from __future__ import annotations

import json
import re
from collections import Counter
from hashlib import sha256
from typing import Any
from uuid import UUID

from hypothesis import assume, given
from hypothesis import strategies as st

from harness.core.redaction import _SECRET_FIELD, ASSIGNMENT, REDACTED, SHORTEST_SECRET, Found, Secrets, _looks_secret

PLAIN = st.text(st.characters(codec="utf-8"), max_size=80)
VALUES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), min_size=9, max_size=40)
PIECES = st.sampled_from(
    ["password=", "token: ", '"secret": "', "://u:", "@h", "Bearer ", "sk-", "eyJ", "a1b2c3d4e5f6g7h8", "-----BEGIN ",
     "PRIVATE KEY-----", "-----END ", "\n", "\\", '"', " ", "=", "AKIA", REDACTED, "[", "]"]
)  # fmt: skip
HASHES = st.one_of(
    st.binary().map(lambda body: f"sha256:{sha256(body).hexdigest()}"),
    st.binary(min_size=20, max_size=20).map(bytes.hex),
    st.uuids(version=5).map(str),
    st.uuids().map(lambda one: str(UUID(int=one.int))),
)
NAMED = Secrets.of({"A_TOKEN": "k7#mQ2-never-in-a-hash", "B_SECRET": "deadbeef1234"})


@given(value=VALUES, before=PLAIN, after=PLAIN)
def test_a_known_value_is_nowhere_in_what_is_left(value: str, before: str, after: str) -> None:
    secrets = Secrets.of({"SOME_API_KEY": value})
    assume(not secrets.not_searched and not re.fullmatch("[0-9a-f-]{1,15}", value))
    clean, found = secrets.taken_from({"a": [f"{before}{value}{after}"], "b": json.dumps({"c": value})})
    assert value not in clean["a"][0] and json.dumps(value)[1:-1] not in clean["b"]
    assert found["SOME_API_KEY"] >= 2


@given(st.lists(st.one_of(PIECES, PLAIN), max_size=14).map("".join))
def test_taken_out_once_nothing_is_left_to_take_out(text: str) -> None:
    clean, _ = NAMED.taken_from_text(text)
    again, found = NAMED.taken_from_text(clean)
    assert (again, sum(found.values())) == (clean, 0)


@given(st.lists(HASHES, min_size=1, max_size=6), st.sampled_from([" ", ", ", "\n", '", "', "/", "=", ": "]))
def test_hashes_ids_and_references_are_never_touched(hashes: list[str], between: str) -> None:
    text = between.join(hashes)
    value = {"text": text, "list": hashes, "commit": hashes[0], "token": hashes[0]}
    assert NAMED.taken_from(value) == (value, {})


LEAVES = st.none() | st.booleans() | st.integers() | PLAIN
DOCUMENTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN, inner, max_size=3), max_leaves=12
)


@given(DOCUMENTS)
def test_a_document_keeps_its_shape(document: object) -> None:
    clean, found = NAMED.taken_from(document)
    assert found or clean == document


SECRETS = st.sampled_from(
    ["k7#mQ2-never-in-a-hash", "deadbeef1234", "AKIAIOSFODNN7EXAMPLE", "AIza" + "b" * 35, "ghp_" + "a1" * 18,
     "github_pat_" + "a1_" * 10, "glpat-" + "a1-" * 8, "xoxb-1234567890-abcdef", "sk-proj-abcdefghijklmnopqrst0",
     "sk_live_" + "a1" * 9, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_1", "Bearer abcdefghijklmnop1234",
     "Authorization: Basic dXNlcjpwYXNz", "postgresql://bob:hunter@db/x", "PASSWORD=hunter2", "api_key: q1w2e3r4",
     "-----BEGIN PRIVATE KEY-----\n" + "QUJD" * 12, "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"]
)  # fmt: skip
ENDS = st.sampled_from(["", "", "-", "\n", "x", "%3D", "\\n", "(", " ", "\u0130", "\u03a3", "="])
NAMES_OF_FIELDS = st.sampled_from(
    ["token", "A_PASSWORD", "X-Api-Key", "apikey", "secret_key", "passphrase", "a\ntoken", "token\n", "ap\u0130_key",
     "tokens", "text", "alertname"]
)  # fmt: skip
TEXTS = st.one_of(
    PLAIN, PIECES, NAMES_OF_FIELDS, SECRETS, st.sampled_from(["hunter2", "17", "secret", "a b c d 1"]),
    st.lists(st.one_of(SECRETS, PIECES, ENDS, PLAIN), max_size=5).map("".join),
)  # fmt: skip
FIELDS = st.dictionaries(NAMES_OF_FIELDS, st.sampled_from(["hunter2", "q1w2e3r4", "a b c d 1", "17"]), max_size=2)
MIXED = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS | FIELDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES_OF_FIELDS | TEXTS, inner, max_size=4),
    max_leaves=24,
)


def looked_at_one_by_one(value: Any, found: Found) -> Any:
    """What is left of a document where every text of it is searched by itself, whatever stands in the others."""
    if isinstance(value, str):
        clean, count = NAMED.taken_from_text(value)
        found.update(count)
        return clean
    if isinstance(value, list):
        return [looked_at_one_by_one(inner, found) for inner in value]
    if not isinstance(value, dict):
        return value
    left = {}
    for key, inner in value.items():
        clean_key, clean = looked_at_one_by_one(key, found), looked_at_one_by_one(inner, found)
        left[clean_key] = clean
        if not isinstance(clean, str) or len(clean) < SHORTEST_SECRET or re.search(r"\s", clean):
            continue
        if (named := _SECRET_FIELD.fullmatch(key.lower())) and _looks_secret(clean, named[1]):
            found[ASSIGNMENT] += 1
            left[clean_key] = REDACTED
    return left


@given(MIXED | FIELDS)
def test_all_texts_at_once_give_what_each_text_by_itself_does(document: Any) -> None:
    found: Found = Counter()
    assert NAMED.taken_from(document) == (looked_at_one_by_one(document, found), found)
