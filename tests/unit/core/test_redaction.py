"""What is taken out of a text and what is left: known values in every form, patterns, and what only looks like one."""

from __future__ import annotations

import json
import time
from base64 import b64encode, urlsafe_b64encode
from collections import Counter
from urllib.parse import quote, quote_plus

import pytest

from harness.core.redaction import REDACTED, Secrets

VALUE = 's3cr3t /+"\\é value'
KNOWN = Secrets.of({"SOMEBODYS_API_KEY": VALUE, "A_TOKEN": "tok-12345", "HOME": "/home/somebody"})
PATTERNS = Secrets.of({})
BODY = "\n".join(b64encode(f"{n} no key".encode() * 6).decode()[:64] for n in range(5))
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{BODY}\nQUJD\n-----END RSA PRIVATE KEY-----"
MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    "form",
    [
        VALUE, json.dumps(VALUE)[1:-1], json.dumps(VALUE, ensure_ascii=False)[1:-1], repr(VALUE)[1:-1], quote(VALUE),
        quote(VALUE, safe=""), quote(VALUE, safe="").replace("%C3%A9", "%c3%a9").replace("%2F", "%2f")
        .replace("%2B", "%2b").replace("%5C", "%5c"), quote_plus(VALUE), b64encode(VALUE.encode()).decode(),
        b64encode(VALUE.encode() + b"\n").decode(), urlsafe_b64encode(VALUE.encode()).decode().rstrip("="),
    ],
)  # fmt: skip
def test_a_known_value_is_taken_out_in_every_form(form: str) -> None:
    clean, found = KNOWN.taken_from_text(f"before {form} after")
    assert clean.replace("=", "") == f"before {REDACTED} after"
    assert found == Counter({"SOMEBODYS_API_KEY": 1})
    assert KNOWN.found_in(f"x{form}".encode()) == "SOMEBODYS_API_KEY"


def test_every_text_of_a_document_is_looked_at_and_every_find_is_counted() -> None:
    document = {"tok-12345": ["tok-12345 tok-12345", {"n": 3, "none": None}], "plain": "as it was"}
    clean, found = KNOWN.taken_from(document)
    assert clean == {REDACTED: [f"{REDACTED} {REDACTED}", {"n": 3, "none": None}], "plain": "as it was"}
    assert found == Counter({"A_TOKEN": 3})


def test_a_document_without_secrets_is_the_same_one() -> None:
    document = {"token": 17, "tokens_in": 5, "text": "password: str", "secret": None}
    clean, found = KNOWN.taken_from(document)
    assert clean is document or clean == document
    assert not found


@pytest.mark.parametrize(
    ("text", "left", "name"),
    [
        (f"a\n{PEM}\nb", f"a\n{REDACTED}\nb", "private-key"),
        (json.dumps(f"a\n{PEM}\nb"), json.dumps(f"a\n{REDACTED}\nb"), "private-key"),
        ("\n".join(f"-{line}" for line in PEM.splitlines()), f"-{REDACTED}", "private-key"),
        (f"{PEM[:200]}", REDACTED, "private-key"),  # its end was cut off
        ("id AKIAIOSFODNN7EXAMPLE.", f"id {REDACTED}.", "aws-access-key"),
        ("AIza" + "b" * 35, REDACTED, "google-api-key"),
        ("use ghp_" + "a1" * 18, f"use {REDACTED}", "github-token"),
        ("github_pat_" + "a1_" * 10, REDACTED, "github-token"),
        ("glpat-" + "a1-" * 8, REDACTED, "gitlab-token"),
        ("xoxb-1234567890-abcdef", REDACTED, "slack-token"),
        ("sk-proj-abcdefghijklmnopqrst0", REDACTED, "api-key"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_1", REDACTED, "jwt"),
        ("authorization: Bearer abcdefghijklmnop1234", f"authorization: Bearer {REDACTED}", "authorization"),
        ("-H 'Authorization: Basic dXNlcjpwYXNz'", f"-H 'Authorization: Basic {REDACTED}'", "authorization"),
        ("it sent bearer abcdefghijklmnop1234", f"it sent bearer {REDACTED}", "bearer-token"),
        ("postgresql://bob:hunter@db/x", f"postgresql://bob:{REDACTED}@db/x", "url-password"),
        ("password=hunter2 and", f"password={REDACTED} and", "assignment"),
        ("DB_PASSWORD: 'Tr0ub4dor&3'", f"DB_PASSWORD: '{REDACTED}'", "assignment"),
        ('{"token": "ab12cd34ef"}', f'{{"token": "{REDACTED}"}}', "assignment"),
        (r"{\"api_key\": \"q1w2e3r4\"}", rf"{{\"api_key\": \"{REDACTED}\"}}", "assignment"),
        ("?user=b&client_secret=q1w2e3r4t5&x=1", f"?user=b&client_secret={REDACTED}&x=1", "assignment"),
        ("X-Api-Key: q1w2e3r4t5", f"X-Api-Key: {REDACTED}", "assignment"),
        ("aws_secret_access_key = wJalrXUtn/K7MDENG", f"aws_secret_access_key = {REDACTED}", "assignment"),
        ("İ password=hunter2", f"İ password={REDACTED}", "assignment"),
        ("aws_session_token=" + "a1B2" * 150 + " end", f"aws_session_token={REDACTED} end", "assignment"),
        (r"a\nghp_" + "a1" * 18, rf"a\n{REDACTED}", "github-token"),
        ("\x1b[32mAKIAIOSFODNN7EXAMPLE\x1b[0m", f"\x1b[32m{REDACTED}\x1b[0m", "aws-access-key"),
        ("x=a%3DAKIAIOSFODNN7EXAMPLE", f"x=a%3D{REDACTED}", "aws-access-key"),
        ("+a\n-AKIAIOSFODNN7EXAMPLE", f"+a\n-{REDACTED}", "aws-access-key"),
    ],
)
def test_a_well_known_form_is_taken_out(text: str, left: str, name: str) -> None:
    clean, found = PATTERNS.taken_from_text(text)
    assert (clean, found) == (left, Counter({name: 1}))
    assert PATTERNS.taken_from_text(clean) == (clean, Counter())


@pytest.mark.parametrize("value", [{"password": "hunter2"}, {"outer": [{"X-Api-Key": "q1w2e3r4t5"}]}])
def test_a_field_whose_name_says_so_is_taken_out(value: object) -> None:
    clean, found = PATTERNS.taken_from(value)
    assert REDACTED in str(clean) and found == Counter({"assignment": 1})


@pytest.mark.parametrize(
    "text",
    [
        "5f1d3c52-6f0e-5b8e-9d53-0c6e6f0e7a11",
        "token: 5f1d3c52-6f0e-5b8e-9d53-0c6e6f0e7a11",
        "secret = 3f786850e387550fdab836ed7e6dc881de23001b",
        "secret: sha256:" + "0a" * 32,
        "token=17 tokens: 400000 tokens_in=5",
        "token = self._next_token()",
        "def f(password: str, token: int | None = None) -> None: ...",
        "secret = os.environ['X_SECRET']",
        "password=${PASSWORD} token={{ token1 }} secret=<your-secret-1>",
        "access_key = key_of_line_2",
        "-----BEGIN CERTIFICATE-----\n" + BODY + "\n-----END CERTIFICATE-----",
        'BEGIN = "-----BEGIN PRIVATE KEY-----"\nEND = "-----END PRIVATE KEY-----"',
        "https://example.org:8080/path@x and git@example.org:a/b.git",
        "disk-usage-of-the-longest-folder-in-1-home",
        "bearer of the longest-name-in-the-room",
        f'password={REDACTED} token: "{REDACTED}" https://a:{REDACTED}@b',
    ],
)
def test_what_only_looks_like_one_is_left(text: str) -> None:
    assert PATTERNS.taken_from_text(text) == (text, Counter())


def test_what_stands_in_any_text_by_chance_is_not_searched_for_and_told() -> None:
    secrets = Secrets.of({"A_PASSWORD": "short", "B_SECRET": "harness", "C_TOKEN": "20261127", "D_API_KEY": "edacted"})
    assert secrets.not_searched == ("A_PASSWORD", "B_SECRET", "C_TOKEN", "D_API_KEY")
    assert secrets.taken_from_text("harness 20261127 short")[0] == "harness 20261127 short"


def test_a_value_of_hex_digits_is_not_found_within_a_longer_hash() -> None:
    secrets = Secrets.of({"A_TOKEN": "deadbeef12"})
    digest = "sha256:" + "0" * 20 + "deadbeef12" + "0" * 34
    assert secrets.taken_from_text(f"{digest} deadbeef12")[0] == f"{digest} {REDACTED}"


ADVERSARIAL = {
    "starts of tokens": "-eyJ" * (MEGABYTE // 4), "parts of tokens": "eyJaaaaaaaa." * (MEGABYTE // 12),
    "begins of keys": "-----BEGIN PRIVATE KEY-----" * (MEGABYTE // 27),
    "a key without an end": "-----BEGIN PRIVATE KEY-----\n" + "A" * MEGABYTE, "dashes": "-" * MEGABYTE,
    "names of keys": ("-----BEGIN " + "A " * 20) * (MEGABYTE // 51), "one letter": "a" * MEGABYTE,
    "names without values": "password" + " " * MEGABYTE, "assignments": "token:" * (MEGABYTE // 6),
    "quoted assignments": 'password="' * (MEGABYTE // 10), "backslashes": "secret" + "\\" * MEGABYTE,
    "addresses": "://a:" * (MEGABYTE // 5), "an address": "://:" + "a" * MEGABYTE, "colons": ":" * MEGABYTE,
    "long users": ("://" + "a" * 60 + ":") * (MEGABYTE // 64), "bearers": "bearer " * (MEGABYTE // 7),
    "a bearer": "bearer " + "a" * MEGABYTE, "headers": "authorization: bearer " * (MEGABYTE // 22),
    "dotless letters": "İpassword=a1b2c3d " * (MEGABYTE // 18), "prefixes": "sk-ghp_xox" * (MEGABYTE // 10),
}  # fmt: skip


@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_no_text_is_slow(kind: str) -> None:
    """Twenty of these take 20 to 160 ms each here; what backtracks would take minutes."""
    ten = Secrets.of({f"N{n}_API_KEY": f"s3cr3t/{n}+value" for n in range(10)})
    began_s = time.process_time()
    ten.taken_from_text(ADVERSARIAL[kind])
    assert time.process_time() - began_s < 3.0
