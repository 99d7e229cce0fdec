"""Temporary folders that do not pile up: one whose process was killed is removed by the next one. Knows no contents."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder below ``parent``, gone afterwards. Its flock tells that its process lives: the kernel frees it."""
    parent.mkdir(parents=True, exist_ok=True)
    with _locked(parent):  # nobody sweeps between the making of a folder and its lock
        for left in parent.glob(f"{prefix}*"):
            _remove_if_left(left)
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        lock = _open_locked(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_if_left(folder: Path) -> None:
    try:
        lock = _open_locked(folder, fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):
        return
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = _open_locked(folder)
    try:
        yield
    finally:
        os.close(lock)


def _open_locked(folder: Path, how: int = 0) -> int:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | how)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
