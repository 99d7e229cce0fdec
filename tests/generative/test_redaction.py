"""Any text around any secret: it is taken out, once is enough, and hashes stay as they are."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from uuid import UUID

from hypothesis import assume, given
from hypothesis import strategies as st

from harness.core.redaction import REDACTED, Secrets

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
