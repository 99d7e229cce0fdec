"""Replaces a small file in one step, so that a reader sees the old text or the new one, never half of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

DAMAGED: Final = (ValueError, KeyError, TypeError, AttributeError)
"""What reading a JSON file of ours raises when a loss of power, or somebody's editor, left something else in it."""


def replace_text(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Writes ``text`` beside ``path`` and renames it into place."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
    draft.replace(path)
