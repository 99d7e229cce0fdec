"""Keeps large bodies in a folder, each under its own hash, compressed. Knows nothing of events or who refers to it."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zstandard

from harness.core.blob import LARGEST_BLOB_BYTES, digest, json_value, proven, reference
from harness.core.canonical import canonical_bytes
from harness.core.errors import Broken, HarnessError, Refused, Retryable
from harness.core.events import BlobRef

_LEVEL = 3


class Blobs:
    """A content-addressed store of bytes; safe to share between threads and processes.

    A body is in ``aa/bb…`` under the folder, where ``aabb…`` is the SHA-256 of the plain bytes. Every method raises
    ``Retryable`` when the disk is full or failing and ``Refused`` when the folder may not be used.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, body: bytes) -> BlobRef:
        """Stores a body durably, once however often it is put, and gives its reference. ``Invalid`` above 64 MiB."""
        ref = reference(body)
        with _explained(ref):
            if not self._holds(ref):
                _write_durably(self._path(ref), zstandard.ZstdCompressor(level=_LEVEL).compress(body))
        return ref

    def get(self, ref: BlobRef) -> bytes:
        """The body that was put. Raises ``Broken`` naming the reference when it is missing or altered."""
        with _explained(ref):
            try:
                stored = self._path(ref).read_bytes()
            except FileNotFoundError as error:
                raise Broken(f"blob {ref} is missing from {self._folder}; restore it from a copy") from error
        return proven(_decompressed(stored, ref), ref)

    def put_json(self, value: Any) -> BlobRef:
        """Stores a JSON value as its canonical bytes. Raises ``Invalid`` naming the path of what JSON cannot hold."""
        return self.put(canonical_bytes(value))

    def get_json(self, ref: BlobRef) -> Any:
        """The value that ``put_json`` stored. Raises as ``get`` does; ``Invalid`` when the body is not JSON."""
        return json_value(self.get(ref), ref)

    def _path(self, ref: BlobRef) -> Path:
        name = digest(ref)
        return self._folder / name[:2] / name[2:]

    def _holds(self, ref: BlobRef) -> bool:
        # Read, not only looked up: a put promises that the body can be got, and writing it again repairs a damaged one.
        try:
            self.get(ref)
        except Broken:
            return False
        return True


def _decompressed(stored: bytes, ref: BlobRef) -> bytes:
    try:
        # A damaged header may promise any size; the memory for it is asked for only below the limit.
        size = zstandard.get_frame_parameters(stored).content_size
        if size > LARGEST_BLOB_BYTES:
            raise Broken(f"blob {ref} is altered: it claims {size} bytes; restore it from a copy")
        return zstandard.ZstdDecompressor().decompress(stored, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Broken(f"blob {ref} is altered: {error}; restore it from a copy") from error


def _write_durably(path: Path, content: bytes) -> None:
    """On the disk under its name, or not there: a reader never sees half of it, not even after a power loss."""
    _make_folder(path.parent)
    handle, unnamed = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unnamed, path)
    except BaseException:
        Path(unnamed).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _explained(ref: BlobRef) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _meaning(error, ref) from error


def _meaning(error: OSError, ref: BlobRef) -> HarnessError:
    where = f"blob {ref}: {error}"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return Retryable(f"{where}; free some space on its disk, then put it again", retry_after_s=10.0)
        case errno.EIO | errno.EMFILE | errno.ENFILE:
            return Retryable(f"{where}; check the disk and the number of open files", retry_after_s=10.0)
        case errno.EACCES | errno.EPERM | errno.EROFS | errno.ENOTDIR:
            return Refused(f"{where}; make the folder of blobs readable and writable, or name another")
        case _:
            return Broken(where)
