"""The search of a home finds what was hidden in it, wherever that is packed; so that finding nothing says something."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from base64 import b64encode
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
import zstandard

from tests.acceptance.searching import PAGE_BYTES, forms, found, lines_of, places, unsnapped

VALUE = 'hidden/in "plain" sight 9'
NAMED = {"it": VALUE}


def where(home: Path) -> set[str]:
    return {line.partition(":")[0] for line in found(places(home), NAMED)}


def snapped(text: bytes) -> bytes:
    """As snappy packs it: a literal of the first half, the rest as literals, and a copy at the end."""
    half = len(text) // 2
    first, rest = text[:half], text[half:]
    literal = lambda part: bytes([(60 << 2), len(part) - 1]) + part  # noqa: E731
    return bytes([len(text) + 8]) + literal(first) + literal(rest) + bytes([(7 << 2) | 2, 8, 0])


def test_a_home_without_it_is_clean(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("nothing of the kind")
    assert found(places(tmp_path), NAMED) == []


@pytest.mark.parametrize(
    "written",
    [
        VALUE, json.dumps({"a": VALUE}), json.dumps(json.dumps(VALUE)), f"x={quote(VALUE)}", repr([VALUE]),
        b64encode(VALUE.encode()).decode(), b64encode(f"u:{VALUE}".encode()).decode(),
        b64encode(f"us:{VALUE}".encode()).decode(), b64encode(f"u:{VALUE} x".encode()).decode(), VALUE.encode().hex(),
    ],
)  # fmt: skip
def test_it_is_found_in_every_form(written: str, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(f"before {written} after")
    assert where(tmp_path) == {"a.log"}


def test_it_is_found_in_a_compressed_body(tmp_path: Path) -> None:
    (tmp_path / "ab").write_bytes(zstandard.ZstdCompressor().compress(f"{VALUE} {VALUE}".encode() * 9))
    assert "ab, unpacked" in where(tmp_path)


def test_it_is_found_in_a_database_over_pages_and_in_its_log_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "l.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (a BLOB)")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for shift in range(4000, 4100, 5):  # somewhere here a page ends within it
            connection.execute("INSERT INTO t VALUES (?)", (b"x" * shift + VALUE.encode(),))
        connection.commit()
        assert "rows of l.db" in where(tmp_path) and "l.db" not in where(tmp_path)


def test_it_is_found_in_an_object_of_git_loose_and_packed(tmp_path: Path) -> None:
    repository = tmp_path / "s.git"
    subprocess.run(["git", "init", "-q", "--bare", repository], check=True)
    git = ["git", "--git-dir", repository, "-c", "user.name=a", "-c", "user.email=a@b"]
    tree = subprocess.run([*git, "mktree"], input=b"", capture_output=True, check=True).stdout.decode().strip()
    made = subprocess.run([*git, "commit-tree", tree, "-m", VALUE], capture_output=True, check=True).stdout
    assert where(tmp_path) == {"objects of s.git"}
    subprocess.run([*git, "update-ref", "refs/heads/main", made.decode().strip()], check=True)
    subprocess.run([*git, "gc", "-q", "--prune=now"], check=True)
    assert where(tmp_path) == {"objects of s.git"}


def test_it_is_found_in_a_packed_record_of_prometheus(tmp_path: Path) -> None:
    packed = snapped(b"label" + VALUE.encode())
    assert unsnapped(packed).startswith(b"label" + VALUE.encode())
    (tmp_path / "wal").mkdir()
    parts = [(2 | 8, packed[:9]), (4 | 8, packed[9:])]
    page = b"".join(bytes([kind, 0, len(part), 0, 0, 0, 0]) + part for kind, part in parts)
    (tmp_path / "wal" / "00000000").write_bytes(page.ljust(PAGE_BYTES, b"\0"))
    assert where(tmp_path) == {"records of wal/00000000"}


def test_of_a_key_every_line_is_looked_for() -> None:
    key = "-----BEGIN PRIVATE KEY-----\n" + "\n".join(["A" * 64, "B" * 64, "short"]) + "\n-----END PRIVATE KEY-----"
    assert list(lines_of(key).values()) == ["A" * 64, "B" * 64]
    assert found([("x", b"-" + b"B" * 64)], lines_of(key)) == ["x: line 2 of a key, plain"]
    assert forms("plain")["hex"] == b"plain".hex().encode()
