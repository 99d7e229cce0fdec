"""Keeps large bodies in a folder, each under its own hash, compressed. Knows nothing of events or who refers to it."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import zstandard

from harness.core.blob import LARGEST_BLOB_BYTES, digest, json_value, proven, reference
from harness.core.canonical import canonical_bytes
from harness.core.dropping import Drop, words
from harness.core.errors import Broken, Dropped, HarnessError, Refused, Retryable
from harness.core.events import BlobRef

_LEVEL = 3
_SHELF: Final = re.compile(r"[0-9a-f]{2}")
_BODY: Final = re.compile(r"[0-9a-f]{62}")


class Blobs:
    """A content-addressed store of bytes; safe to share between threads and processes.

    A body is in ``aa/bb…`` under the folder, where ``aabb…`` is the SHA-256 of the plain bytes. Its file's time is that
    of the last ``put``: a collector takes no body that was put a short while ago, for its event may be still to come.
    Every method raises ``Retryable`` when the disk is full or failing and ``Refused`` when the folder may not be used.
    """

    def __init__(self, folder: Path, *, drops: Callable[[BlobRef], Drop | None] | None = None) -> None:
        """``drops`` says how a body was dropped, None when it was not; without it, nothing was dropped here."""
        self._folder = folder
        self._drops = drops

    def put(self, body: bytes) -> BlobRef:
        """Stores a body durably, once however often it is put, and gives its reference. ``Invalid`` above 64 MiB.

        A body that a person had forgotten is not stored again: its reference is given, and ``get`` tells why.
        """
        ref = reference(body)
        with _explained(ref), _shelf_locked(self._path(ref).parent, fcntl.LOCK_SH):
            if self._holds(ref):
                _make_young(self._path(ref))
            elif not self._is_forgotten(ref):
                _write_durably(self._path(ref), zstandard.ZstdCompressor(level=_LEVEL).compress(body))
        return ref

    def get(self, ref: BlobRef) -> bytes:
        """The body that was put. Raises ``Dropped`` with who and why when it was dropped, ``Broken`` naming the
        reference when it is missing or altered."""
        with _explained(ref):
            try:
                stored = self._path(ref).read_bytes()
            except FileNotFoundError as error:
                if (drop := self._dropped(ref)) is not None:
                    raise Dropped(f"blob {ref} was {self.told(drop)}") from None
                raise Broken(f"blob {ref} is missing from {self._folder}; restore it from a copy") from error
        return proven(_decompressed(stored, ref), ref)

    def told(self, drop: Drop) -> str:
        """A drop in words, with the person's reason unless that is not there to read any more."""
        if drop.event.why is None:
            return words(drop, None)
        try:
            return words(drop, str(Blobs(self._folder).get_json(drop.event.why)["text"]))
        except HarnessError:
            return words(drop, None)

    def put_json(self, value: Any) -> BlobRef:
        """Stores a JSON value as its canonical bytes. Raises ``Invalid`` naming the path of what JSON cannot hold."""
        return self.put(canonical_bytes(value))

    def get_json(self, ref: BlobRef) -> Any:
        """The value that ``put_json`` stored. Raises as ``get`` does; ``Invalid`` when the body is not JSON."""
        return json_value(self.get(ref), ref)

    def has(self, ref: BlobRef) -> bool:
        """Whether there is a file for it, whatever is in it."""
        with _explained(ref):
            return self._path(ref).exists()

    def now_ns(self) -> int:
        """The time on the clock that the files' times are of: that of the file system, not that of this process."""
        with _explained_folder(self._folder):
            _make_folder(self._folder)
            os.utime(self._folder)
            return self._folder.stat().st_mtime_ns

    def shelves(self) -> list[str]:
        """The names of the folders that bodies lie in, sorted."""
        with _explained_folder(self._folder):
            if not self._folder.is_dir():
                return []
            return sorted(one.name for one in os.scandir(self._folder) if _SHELF.fullmatch(one.name) and one.is_dir())

    @contextmanager
    def shelf(self, name: str) -> Iterator[Shelf]:
        """A folder of bodies, to take some out: nobody puts one there meanwhile."""
        folder = self._folder / name
        with _explained_folder(folder), _shelf_locked(folder, fcntl.LOCK_EX):
            shelf = Shelf(folder)
            yield shelf
            if shelf.taken:
                sync_folder(folder)

    def refs(self) -> Iterator[BlobRef]:
        """Every body that is here, damaged ones too, in order; one that is put meanwhile may be missed."""
        for name in self.shelves():
            with _explained_folder(self._folder / name):
                names = sorted(one.name for one in os.scandir(self._folder / name) if _BODY.fullmatch(one.name))
            yield from (f"sha256:{name}{rest}" for rest in names)

    def _path(self, ref: BlobRef) -> Path:
        name = digest(ref)
        return self._folder / name[:2] / name[2:]

    def _holds(self, ref: BlobRef) -> bool:
        # Read, not only looked up: a put promises that the body can be got, and writing it again repairs a damaged one.
        try:
            proven(_decompressed(self._path(ref).read_bytes(), ref), ref)
        except (FileNotFoundError, Broken):
            return False
        return True

    def _dropped(self, ref: BlobRef) -> Drop | None:
        return None if self._drops is None else self._drops(ref)

    def _is_forgotten(self, ref: BlobRef) -> bool:
        drop = self._dropped(ref)
        return drop is not None and drop.forgotten


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a shelf: a body, or (``ref`` None) what a put that was killed left half written."""

    name: str
    ref: BlobRef | None
    size_bytes: int
    put_at_ns: int


@dataclass(slots=True)
class Shelf:
    """A folder of bodies while nobody may put one there."""

    folder: Path
    taken: int = 0

    def entries(self) -> Iterator[Entry]:
        """Every file that is ours; any other is nobody's to remove."""
        for one in os.scandir(self.folder):
            is_body = _BODY.fullmatch(one.name) is not None
            if not is_body and not one.name.startswith("."):
                continue
            about = one.stat(follow_symlinks=False)
            ref = f"sha256:{self.folder.name}{one.name}" if is_body else None
            yield Entry(one.name, ref, about.st_size, about.st_mtime_ns)

    def take(self, name: str) -> None:
        """Remove a file, durably once the shelf is left; one that is not there is fine."""
        (self.folder / name).unlink(missing_ok=True)
        self.taken += 1


def _decompressed(stored: bytes, ref: BlobRef) -> bytes:
    try:
        # A damaged header may promise any size; the memory for it is asked for only below the limit.
        size = zstandard.get_frame_parameters(stored).content_size
        if size > LARGEST_BLOB_BYTES:
            raise Broken(f"blob {ref} is altered: it claims {size} bytes; restore it from a copy")
        return zstandard.ZstdDecompressor().decompress(stored, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Broken(f"blob {ref} is altered: {error}; restore it from a copy") from error


@contextmanager
def _shelf_locked(folder: Path, how: int) -> Iterator[None]:
    """Shared by those who put, alone for one who takes. The kernel takes the lock back from a process that dies; the
    folder itself is locked, and never removed."""
    _make_folder(folder)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)


def _make_young(path: Path) -> None:
    """The file's time is now, on its file system's clock, also after a power loss."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.utime(handle)
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_durably(path: Path, content: bytes) -> None:
    """On the disk under its name, or not there: a reader never sees half of it, not even after a power loss."""
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
    sync_folder(path.parent)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Has the names in a folder on the disk."""
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
        raise _meaning(error, f"blob {ref}") from error


@contextmanager
def _explained_folder(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _meaning(error, f"blobs in {folder}") from error


def _meaning(error: OSError, what: str) -> HarnessError:
    where = f"{what}: {error}"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return Retryable(f"{where}; free some space on its disk, then put it again", retry_after_s=10.0)
        case errno.EIO | errno.EMFILE | errno.ENFILE:
            return Retryable(f"{where}; check the disk and the number of open files", retry_after_s=10.0)
        case errno.EACCES | errno.EPERM | errno.EROFS | errno.ENOTDIR | errno.EEXIST:
            return Refused(f"{where}; make the folder of blobs readable and writable, or name another")
        case _:
            return Broken(where)
