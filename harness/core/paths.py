"""Which paths an agent may name: inside the service's tree, and none that git or the harness keeps for itself. Pure."""

from __future__ import annotations

import re
from typing import Final

from harness.core.errors import Forbidden

_LONGEST: Final = 400
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\\]")
_GITS_OWN: Final = re.compile(r"\.git(modules|attributes)?[\s.]*|git~\d+", re.IGNORECASE)


def confined(path: str) -> str:
    """The path, relative to the root of the tree. Raises Forbidden with the rule that it breaks."""
    shown = repr(path if len(path) <= _LONGEST else f"{path[:_LONGEST]}…")
    if not path or len(path) > _LONGEST or _CONTROL.search(path):
        raise Forbidden(f"{shown}: name a file by its path from the root of the service, in plain characters")
    if path.startswith(("/", "~")):
        raise Forbidden(f"{shown}: leads out of the service's tree; paths are relative to its root")
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise Forbidden(f"{shown}: write it without empty parts, `.` and `..`")
        if _GITS_OWN.fullmatch(part):
            raise Forbidden(f"{shown}: {part} is git's own and not part of the service")
    return path
