"""Text of the world made harmless: as it is stored, on a terminal, in one line, in the message of a commit. Pure.

Nothing is taken away that a person would miss: what a reader would obey is shown as what it is (``\\x1b``).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Final

import orjson

_UNSTORABLE: Final = re.compile("[\ud800-\udfff\0]")
_OBEYED: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Control characters, those without a width or that turn the direction, halves of characters, and none at all."""
_UNUSUAL: Final = re.compile(r"[^\n\t -~]")
_TRAILER: Final = re.compile(r"^(?=\s*[A-Za-z0-9-]+\s*:|---|#|\(cherry picked)", re.MULTILINE)
"""What git, or somebody who reads the log, may take for a trailer or for the end of the message."""


def storable(value: Any) -> Any:
    """The same JSON value without what a database refuses: half a character becomes U+FFFD, NUL its picture U+2400."""
    try:
        if b"\\u0000" not in orjson.dumps(value):  # it writes NUL so, and no half of a character
            return value
    except TypeError:
        pass
    return _mended(value)


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub(lambda found: "\u2400" if found[0] == "\0" else "\ufffd", value)
    if isinstance(value, dict):
        return {_mended(key): _mended(one) for key, one in value.items()}
    return [_mended(one) for one in value] if isinstance(value, list) else value


def safe(text: str) -> str:
    """Text without what a terminal would obey: control characters are shown, not done. Lines and tabs stay."""
    return _UNUSUAL.sub(lambda found: _shown(found[0]), text)


def _shown(char: str) -> str:
    return f"\\x{ord(char):02x}" if unicodedata.category(char) in _OBEYED else char


def one_line(text: str) -> str:
    """The same where only a line is expected: a second one could be taken for one that the harness wrote."""
    return safe(text).replace("\n", "\\n").replace("\t", " ")


def commit_message(subject: str, body: str) -> str:
    """Subject and body of a commit's message, without an end of their own: trailers follow, and none is forged."""
    return f"{one_line(subject).strip() or 'Change'}\n\n{_TRAILER.sub('> ', safe(body).strip())}"
