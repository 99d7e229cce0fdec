"""Searches a home for values that must not be in it: each file as it lies, and what lies packed in it. Changes nothing.

Knows nothing of the harness: what is stored compressed, split over pages or encoded is unpacked here by the rules of
who stores so (zstd, SQLite and its log, git, Prometheus' log), and each value is looked for in every form.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote, quote_plus

import zstandard

ZSTD = b"\x28\xb5\x2f\xfd"
SQLITE = b"SQLite format 3\0"
PAGE_BYTES = 32 * 1024
HEADER_BYTES = 7
Place = tuple[str, bytes]


def forms(value: str) -> dict[str, bytes]:
    """How a value may be written: name of the form → bytes."""
    whole = value.encode()
    written = {
        "plain": value, "JSON": json.dumps(value)[1:-1], "JSON in UTF-8": json.dumps(value, ensure_ascii=False)[1:-1],
        "JSON in JSON": json.dumps(json.dumps(value)[1:-1])[1:-1], "Python": repr(value)[1:-1],
        "URL": quote(value, safe=""), "path of a URL": quote(value), "form": quote_plus(value), "hex": whole.hex(),
        "base64": b64encode(whole).decode().rstrip("="),
        "base64 for URLs": urlsafe_b64encode(whole).decode().rstrip("="),
        **{f"within base64, {n} before": b64encode(b"\0" * n + whole).decode()[4:-4] for n in (1, 2)},
    }  # fmt: skip
    once = {text: name for name, text in reversed(written.items()) if len(text) >= 6}
    return {name: text.encode() for text, name in once.items()}


def found(places: Iterable[Place], values: Mapping[str, str]) -> list[str]:
    """``where: which, in what form`` for every value that is in a place."""
    looked_for = [(name, form, body) for name, value in values.items() for form, body in forms(value).items()]
    return [
        f"{where}: {name}, {form}" for where, content in places for name, form, body in looked_for if body in content
    ]


def assert_nowhere(home: Path, values: Mapping[str, str]) -> None:
    """In the home of a stack: its ledger, Temporal's and Prometheus' files, and git are among what was searched."""
    searched = []

    def noted() -> Iterator[Place]:
        for where, content in places(home):
            searched.append(where)
            yield where, content

    assert found(noted(), values) == []
    expected = {"rows of ledger.db", "rows of temporal.db", "objects of repos/ratelimiter.git"}
    assert expected <= set(searched)
    for folder in ("blobs", "logs", "records of prometheus"):
        assert any(where.startswith(folder) for where in searched), folder


def pem(word: str) -> str:
    """A private key as it is written, of nobody; the same for the same word."""
    lines = [b64encode(sha256(f"{word} {n}".encode()).digest() + b"x" * 16).decode() for n in range(8)]
    return "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----"])


def lines_of(key: str) -> dict[str, str]:
    """A key of many lines, line by line: one alone would be too much."""
    body = [line for line in key.splitlines() if not line.startswith("-----")]
    return {f"line {number} of a key": line for number, line in enumerate(body, start=1) if len(line) >= 16}


def places(home: Path) -> Iterator[Place]:
    """Everything that is in a home, file by file, packed and unpacked."""
    for path in sorted(home.rglob("*")):
        if path.is_symlink() or not path.is_file():
            if path.is_dir() and path.suffix == ".git":
                yield f"objects of {path.relative_to(home)}", objects(path)
            continue
        name = str(path.relative_to(home))
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # a file of a living home
            continue
        yield name, content
        if content.startswith(ZSTD):
            yield f"{name}, unpacked", zstandard.ZstdDecompressor().decompressobj().decompress(content)
        elif content.startswith(SQLITE):
            yield f"rows of {name}", rows(path)
        elif path.parent.name == "wal":
            yield f"records of {name}", b"\0".join(records(content))


def objects(repository: Path) -> bytes:
    """Every object of a git repository, whether packed or loose, reachable or not."""
    return subprocess.run(
        ["git", "--git-dir", repository, "cat-file", "--batch-all-objects", "--unordered", "--batch"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip


def rows(database: Path) -> bytes:
    """Every column of every row, those that are only in the write-ahead log included."""
    try:  # of one that somebody writes, a copy of its files would be torn
        return _columns(f"file:{database}?mode=ro")
    except sqlite3.OperationalError:  # of one that was left with its log, only a writer can be made
        with TemporaryDirectory() as folder:
            for part in database.parent.glob(f"{database.name}*"):
                if not part.name.endswith("-shm"):
                    shutil.copy(part, folder)
            return _columns(f"file:{folder}/{database.name}")


def _columns(uri: str) -> bytes:
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        connection.text_factory = bytes
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        found = [
            value if isinstance(value, bytes) else str(value).encode()
            for (name,) in names
            for row in connection.execute(f'SELECT * FROM "{name.decode()}"')
            for value in row
        ]
    return b"\0".join(found)


def records(log: bytes) -> Iterator[bytes]:
    """The records of a segment of Prometheus' write-ahead log."""
    whole = b""
    for start in range(0, len(log), PAGE_BYTES):
        page, at = log[start : start + PAGE_BYTES], 0
        while at + HEADER_BYTES <= len(page) and page[at]:
            kind, size = page[at], int.from_bytes(page[at + 1 : at + 3], "big")
            whole += page[at + HEADER_BYTES : at + HEADER_BYTES + size]
            at += HEADER_BYTES + size
            if kind & 7 in (1, 4):  # whole, or the last part
                yield _unpacked(whole, kind)
                whole = b""


def _unpacked(record: bytes, kind: int) -> bytes:
    if kind & 8:
        return unsnapped(record)
    return zstandard.ZstdDecompressor().decompressobj().decompress(record) if kind & 16 else record


def unsnapped(packed: bytes) -> bytes:
    """What snappy packed (its raw form: literals, and copies of what came before)."""
    at = next(n for n, byte in enumerate(packed) if byte < 128) + 1  # behind the length
    out = bytearray()
    while at < len(packed):
        tag = packed[at]
        kind, size = tag & 3, tag >> 2
        at += 1
        if kind == 0:
            more = max(0, size - 59)
            size = int.from_bytes(packed[at : at + more], "little") if more else size
            out += packed[at + more : at + more + size + 1]
            at += more + size + 1
            continue
        width = 4 if kind == 3 else kind
        offset = int.from_bytes(packed[at : at + width], "little")
        at += width
        if kind == 1:
            size, offset = size & 7, offset | (tag >> 5) << 8
        size += 4 if kind == 1 else 1
        piece = bytes(out[len(out) - offset :][:size])
        out += (piece * (size // len(piece) + 1))[:size]
    return bytes(out)
