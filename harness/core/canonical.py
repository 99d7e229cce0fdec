"""Decides the one way in which a JSON value is written, and refuses what would not come back the same. Touches nothing.

Canonical means: UTF-8, object keys sorted, no white space. So the order in which a dict was filled leaves no trace,
and a hash of the bytes is a hash of the value.
"""

from __future__ import annotations

import math
from enum import IntEnum, StrEnum
from typing import Any

import orjson

from harness.core.errors import Invalid

LARGEST_INT = 2**53 - 1  # past it JavaScript, jq and most exports round without a word
DEEPEST = 254  # orjson's own limit for writing

_PLAIN = frozenset({str, int, float, bool, type(None), list, dict})
_ALLOWED = "str, int, float, bool, None, list and dict"
_OPTIONS = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_STRICT_INTEGER
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
)


def canonical_bytes(value: Any, *, name: str = "value") -> bytes:
    """The canonical JSON of ``value``; ``canonical_value`` of it equals ``value``.

    Allowed are str, int within 53 bits, finite float, bool, None, list, and dict with str keys; a StrEnum or IntEnum
    counts as its value. Raises ``Invalid`` naming the path (``name.key[3]``) of the first thing that is none of these.
    """
    return canonical_copy(value, name=name)[0]


def canonical_copy(value: Any, *, name: str = "value") -> tuple[bytes, Any]:
    """What ``canonical_bytes`` gives, and what ``canonical_value`` makes of it. Raises as the first does."""
    try:
        written = orjson.dumps(value, option=_OPTIONS)
    except TypeError as error:
        raise Invalid(_first_fault(value, name) or f"{name}: {error}") from error
    # orjson writes NaN as null, a tuple as a list and a UUID as text; only the way back shows it.
    copy = orjson.loads(written)
    if copy != value:
        raise Invalid(_first_fault(value, name) or f"{name}: does not come back the same from JSON")
    return written, copy


def canonical_value(written: bytes | str) -> Any:
    """The value that ``canonical_bytes`` wrote. Raises ValueError when ``written`` is not JSON."""
    return orjson.loads(written)


def is_canonical(written: str) -> bool:
    """Whether ``written`` is what ``canonical_bytes`` writes for the value in it. Takes any text and never raises."""
    try:
        return orjson.dumps(orjson.loads(written), option=_OPTIONS) == written.encode()
    except (ValueError, TypeError):
        return False


def _first_fault(value: Any, name: str) -> str | None:
    """Walks slowly, and only after a refusal, to say where and why."""
    ahead: list[tuple[str, Any, int]] = [(name, value, 0)]
    while ahead:
        path, value, depth = ahead.pop()
        if depth >= DEEPEST:
            return f"{name}: nested {DEEPEST} levels deep or more; flatten it or store it as a blob"
        fault: str | None = None
        match value:
            case _ if type(value) not in _PLAIN and not isinstance(value, StrEnum | IntEnum):
                fault = f"{type(value).__name__} is not a JSON value; allowed are {_ALLOWED}"
            case None | bool():
                pass
            case str():
                fault = None if _is_unicode(value) else "text with a lone surrogate; only valid Unicode can be recorded"
            case int():
                fault = None if abs(value) <= LARGEST_INT else f"{value} needs more than 53 bits; record it as text"
            case float():
                fault = None if math.isfinite(value) else f"{value} is not finite; record null or leave it out"
            case list():
                ahead += [(f"{path}[{index}]", item, depth + 1) for index, item in reversed(list(enumerate(value)))]
            case dict():
                wrong = [key for key in value if type(key) is not str or not _is_unicode(key)]
                fault = f"key {wrong[0]!r} is not a plain Unicode string" if wrong else None
                ahead += [(f"{path}.{key!s}", item, depth + 1) for key, item in reversed(value.items())]
        if fault is not None:
            return f"{path}: {fault}"
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
