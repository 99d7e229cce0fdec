"""Makes the tree that is checked: a change's files, with those that judge it taken from its base. Runs none of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

_STEERING = (
    "conftest.py", "__init__.py", "__pycache__", "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml",
    "pyproject.toml", "tox.ini", "setup.cfg",
)  # fmt: skip


def mix(tree: Path, base: Path, from_base: Iterable[str], target: Path) -> None:
    """A writable copy of ``tree`` at ``target`` in which each of these paths is as in ``base``, or absent as there."""
    _copy(tree, target)
    for path in from_base:
        _replace(target, base, PurePosixPath(path))


def steering(protected: Sequence[str]) -> list[str]:
    """What pytest reads above the protected tests, and could be told by to skip or to bend them."""
    folders = {parent for path in protected for parent in PurePosixPath(path).parents}
    return [str(folder / name) for folder in sorted(folders) for name in _STEERING]


def _replace(target: Path, base: Path, path: PurePosixPath) -> None:
    for parent in reversed(path.parents):
        _remove_unless_folder(target / parent)
    mine, theirs = target / path, base / path
    if mine.is_dir() and not mine.is_symlink():
        shutil.rmtree(mine)
    else:
        mine.unlink(missing_ok=True)
    if theirs.is_dir():
        _copy(theirs, mine)
    elif theirs.exists():
        mine.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(theirs, mine)


def _remove_unless_folder(path: Path) -> None:
    """A file or a symlink where a folder has to be would lead elsewhere."""
    if path.is_symlink() or path.is_file():
        path.unlink()


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True)
    for folder in [target, *(path for path in target.rglob("*") if path.is_dir() and not path.is_symlink())]:
        folder.chmod(0o755)  # in a release they are read-only
