"""Copies a ledger and its blobs into a folder, and back into an empty ledger: whole or not at all, checked both ways.

The ledger may be in use meanwhile: events are only ever added, so what stands up to the head is one consistent state.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Final

import zstandard

from harness.core.anchor import ledger_name
from harness.core.backup import LONGEST_LINE_BYTES, Manifest, line_of, row_of
from harness.core.chain import Row, Walk, opened
from harness.core.errors import Broken, Dropped, Forbidden, HarnessError, Invalid, Retryable
from harness.core.record import Head
from harness.ledger.blobs import Blobs, sync_folder
from harness.ledger.store import Ledger

MANIFEST: Final = "MANIFEST.json"
SUMS: Final = "SHA256SUMS"
"""In the form that ``sha256sum --check`` reads, so that a backup can be looked at without a harness."""
EVENTS: Final = "events.jsonl.zst"
BLOBS: Final = "blobs"
_LEVEL = 3


def export(ledger: Ledger, blobs: Blobs, out: Path, *, taken_at: datetime) -> Manifest:
    """A backup in the new folder ``out``; on an error, or kill -9, there is none of that name.

    Raises ``Broken`` when the chain does not hold or a body is altered, ``Invalid`` when the name is taken or cannot be
    made, ``Retryable`` when the disk is full.
    """
    with _new_folder(out) as folder:
        head = ledger.head()
        with _zstd_file(folder / EVENTS) as events:
            for row in _proven(ledger.rows(up_to=head.position), head, "the ledger"):
                events.write(line_of(row))
        count = _copied(blobs, Blobs(folder / BLOBS))
        files, size = _write_sums(folder)
        first = next(ledger.rows(up_to=min(1, head.position)), None)
        manifest = Manifest(
            ledger=ledger_name(opened(first) if first else None), events=head.position, head_hash=head.hash,
            taken_at=taken_at, blobs=count, files=files, size_bytes=size, sums=_sha256(folder / SUMS),
        )  # fmt: skip
        with (folder / MANIFEST).open("xb") as file:
            file.write(manifest.model_dump_json(indent=1).encode() + b"\n")
            _sync(file)
    return manifest


def check(folder: Path) -> Manifest:
    """What a backup holds, once every file is as it was written and its chain holds.

    Raises ``Invalid`` for what is no backup, ``Broken`` for one that is damaged.
    """
    with _explained(folder):
        manifest = _checked(folder)
        for _ in _proven(_lines(folder / EVENTS), manifest.head, str(folder)):
            pass
    return manifest


def restore(folder: Path, manifest: Manifest, ledger: Ledger, blobs: Blobs) -> None:
    """Brings a backup that was checked into a ledger without events: the bodies, then all events in one transaction.

    So a restore that was killed leaves a ledger that is still empty, and is simply done again. Raises ``Forbidden``
    when there are events.
    """
    with _explained(folder):
        _refuse_events(ledger, manifest)
        _copied(Blobs(folder / BLOBS), blobs)
        ledger.take_over(_lines(folder / EVENTS), manifest.head)


def _proven(rows: Iterator[Row], head: Head, name: str) -> Iterator[Row]:
    """The rows, each after it was found to hold. Raises ``Broken`` at the first that does not, or without the last."""
    walk = Walk()
    for row in rows:
        if (fault := walk.step(row)) is not None:
            raise Broken(f"{name} is damaged: {fault.reason}; nothing was copied")
        yield row
    found = walk.held()
    if (found.events, found.head) != head:
        raise Broken(f"{name} ends at position {found.events}, and its head is at {head.position}; nothing was copied")


def _copied(blobs: Blobs, to: Blobs) -> int:
    """Puts every body that is in one store into another; gives how many."""
    count = 0
    for ref in blobs.refs():
        try:
            body = blobs.get(ref)
        except (Broken, Dropped):
            if blobs.has(ref):
                raise
            continue  # removed meanwhile, so no event needs it any more
        to.put(body)
        count += 1
    return count


def _refuse_events(ledger: Ledger, manifest: Manifest) -> None:
    there = ledger.head()
    if there.position and there == manifest.head:
        raise Forbidden(f"the ledger holds exactly the {there.position} events of this backup: it is restored already")
    if there.position:
        raise Forbidden(
            f"the ledger holds {there.position} events already, and a backup is only restored where none are; "
            "name a new home by HARNESS_HOME, or another ledger by HARNESS_LEDGER_URL"
        )


def _checked(folder: Path) -> Manifest:
    """The manifest, once every file is as it was written."""
    try:
        manifest = Manifest.read((folder / MANIFEST).read_bytes(), str(folder / MANIFEST))
    except (FileNotFoundError, NotADirectoryError):
        raise Invalid(
            f"{folder}: has no {MANIFEST}, so it is no whole backup; name a folder that `harness ledger export` made"
        ) from None
    if not (folder / SUMS).is_file() or _sha256(folder / SUMS) != manifest.sums:
        raise Broken(f"{folder / SUMS}: is not as it was written; take another backup")
    named = 0
    with (folder / SUMS).open(encoding="utf-8") as sums:
        for line in sums:
            digest, _, path = line.rstrip("\n").partition("  ")
            if not (folder / path).is_file():
                raise Broken(f"{folder / path}: is missing; take another backup")
            if _sha256(folder / path) != digest:
                raise Broken(f"{folder / path}: is not as it was written; take another backup")
            named += 1
    there = sum(1 for _ in _files(folder)) - len((MANIFEST, SUMS))
    if not named == there == manifest.files:
        raise Broken(f"{folder}: holds {there} files, its manifest names {manifest.files}; take another backup")
    return manifest


def _lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        lines = io.BufferedReader(stream)
        number = 0
        try:
            while line := lines.readline(LONGEST_LINE_BYTES):
                number += 1
                yield row_of(line, f"{path}: line {number}")
        except zstandard.ZstdError as error:
            raise Broken(f"{path}: is cut off or altered after line {number} ({error}); take another backup") from None


def _write_sums(folder: Path) -> tuple[int, int]:
    """Writes the hash of every file; gives how many they are, and their bytes."""
    count, size = 0, 0
    with (folder / SUMS).open("x", encoding="utf-8") as sums:
        for path in _files(folder):
            if path.name != SUMS:
                sums.write(f"{_sha256(path)}  {path.relative_to(folder).as_posix()}\n")
                count, size = count + 1, size + path.stat().st_size
        _sync(sums)
    return count, size


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder, in an order that is always the same; no list of all of them is made."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, sha256).hexdigest()


def _sync(file: io.IOBase) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _zstd_file(path: Path) -> Iterator[zstandard.ZstdCompressionWriter]:
    with path.open("xb") as file:
        with zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).stream_writer(file, closefd=False) as stream:
            yield stream
        _sync(file)


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder that gets its name when everything in it is on the disk."""
    whole = out.absolute()
    with _explained(out):
        if whole.is_symlink() or (whole.exists() and (not whole.is_dir() or any(whole.iterdir()))):
            raise Invalid(f"{out}: is there already; name a folder that is new")
        whole.parent.mkdir(parents=True, exist_ok=True)
        unnamed = Path(tempfile.mkdtemp(dir=whole.parent, prefix=f".{whole.name[:40]}."))
        try:
            yield unnamed
            sync_folder(unnamed)
            os.replace(unnamed, whole)
            sync_folder(whole.parent)
        except BaseException:
            shutil.rmtree(unnamed, ignore_errors=True)
            raise


@contextmanager
def _explained(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _meaning(error, where) from error


def _meaning(error: OSError, where: Path) -> HarnessError:
    place = f"{error.filename or where}: {error.strerror}"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return Retryable(f"{place}; nothing half is left: free some space, or raise the limit, then do it again")
        case errno.EIO | errno.EMFILE | errno.ENFILE:
            return Retryable(f"{place}; check the disk and the number of open files, then do it again")
        case _:
            return Invalid(f"{place}; name a folder that can be used so")
