"""Folders of exported documents on disk: written whole or not at all, read strictly. Knows nothing of their content."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from harness.core.errors import Forbidden, Invalid
from harness.core.redaction import Secrets

MANIFEST: Final = "MANIFEST.json"
FAULTS_TOLD: Final = 20


class Export:
    """The folder under way. Every file is searched for secrets before it is written."""

    def __init__(self, folder: Path, secrets: Secrets) -> None:
        self._folder = folder
        self._secrets = secrets

    def write(self, path: str, content: bytes) -> dict[str, Any]:
        """Write a file; gives its path, hash and size. Raises Forbidden when it holds a secret: the export ends."""
        if name := self._secrets.found_in(content):
            raise Forbidden(
                f"{path}: holds the value of {name}, and nothing was exported; a secret leaves this machine in no "
                f"export. Change it where it is valid, then unset {name} here"
            )
        target = self._folder / path
        target.parent.mkdir(exist_ok=True)
        with target.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return {"path": path, "sha256": sha256(content).hexdigest(), "bytes": len(content)}


@contextmanager
def new_export(folder: Path, secrets: Secrets) -> Iterator[Export]:
    """A folder that gets its name when everything is in it; on an error, or kill -9, there is none of that name.

    Raises Invalid when the name is taken or cannot be made.
    """
    whole = folder.absolute()
    if whole.exists() and (not whole.is_dir() or any(whole.iterdir())):
        raise Invalid(f"--out {folder}: is there already and not empty; name a folder that is new")
    try:
        whole.parent.mkdir(parents=True, exist_ok=True)
        unnamed = Path(tempfile.mkdtemp(dir=whole.parent, prefix=f".{whole.name[:40]}."))
        try:
            yield Export(unnamed, secrets)
            unnamed.chmod(0o755)
            os.replace(unnamed, whole)
        except BaseException:
            shutil.rmtree(unnamed, ignore_errors=True)
            raise
    except OSError as error:
        raise Invalid(f"--out {folder}: {error.strerror}; name a folder that can be made") from None


def read_strictly(path: Path) -> Any:
    """The JSON of a file. Raises Invalid when there is none, or a key stands twice. NaN is read: a rule tells of it."""
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_once)
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}; name a file or a folder of an export") from None
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{path}: is no JSON document: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} stands twice in one object")
    return found


def format_faults(document: Any) -> list[str]:
    """``path: reason`` for what the published models of the format refuse."""
    from atif import Trajectory  # only a validation needs it

    try:
        Trajectory.model_validate(document)
    except ValidationError as error:
        told = error.errors(include_url=False, include_input=False, include_context=False)
        lines = [f"{'.'.join(map(str, one['loc'])) or '$'}: {one['msg']}" for one in told[:FAULTS_TOLD]]
        return [*lines, *([f"$: {len(told) - FAULTS_TOLD} faults more"] if len(told) > FAULTS_TOLD else [])]
    return []


def altered(folder: Path, manifest: Any) -> Iterator[tuple[str, str]]:
    """(path, reason) for every file of an export that is not the one its manifest names."""
    named = {str(one["path"]): one for one in manifest["files"]}
    here = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    for path in sorted(here - set(named)):
        yield path, "is in the folder, and not in the manifest"
    for path, one in sorted(named.items()):
        if path not in here:
            yield path, "is in the manifest, and not in the folder"
            continue
        content = (folder / path).read_bytes()
        if len(content) != one["bytes"] or sha256(content).hexdigest() != one["sha256"]:
            yield path, "is not as it was written: its hash or its size is another"
    for split, count in manifest["counts"].items():
        rows = sum(one["rows"] for one in named.values() if one["split"] == split)
        if rows != count:
            yield MANIFEST, f"counts {count} rows of {split}, its files have {rows}"
