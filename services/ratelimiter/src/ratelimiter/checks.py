"""Turns the body of a check into values, or says what is wrong with it. Pure."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from ratelimiter.problems import BadRequest

FIELDS = frozenset({"limit", "key", "cost"})
MAX_KEY_BYTES = 1024
# The largest integer that every JSON reader keeps exact (RFC 8259, section 6).
MAX_COST = 2**53 - 1
TYPE_NAMES = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a fraction",
    str: "a string",
    list: "a list",
}


class Check(NamedTuple):
    """One question: may ``key`` spend ``cost`` tokens of ``limit`` now?"""

    limit: str
    key: str
    cost: int


def parse_check(body: bytes) -> Check:
    """Read ``{"limit", "key", "cost": 1}``. Raises BadRequest with the field and what it may be."""
    try:
        document = json.loads(body.decode())
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8 at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadRequest(f"the body must be a JSON object, not {_type_name(document)}")
    unknown = document.keys() - FIELDS
    if unknown:
        raise BadRequest(f"unknown field {min(unknown)[:64]!r}; known: cost, key, limit")
    limit = document.get("limit")
    if not isinstance(limit, str):
        raise BadRequest(f"limit must be a string, not {_type_name(limit)}")
    return Check(limit, parse_key(document.get("key")), _cost(document.get("cost", 1)))


def parse_key(value: Any) -> str:
    """Accept a string of 1 to ``MAX_KEY_BYTES`` bytes of UTF-8. Raises BadRequest."""
    if not isinstance(value, str):
        raise BadRequest(f"key must be a string, not {_type_name(value)}")
    try:
        length = len(value.encode())
    except UnicodeEncodeError as error:
        raise BadRequest("key must be Unicode text, it holds half of a surrogate pair") from error
    if not 1 <= length <= MAX_KEY_BYTES:
        raise BadRequest(f"key must have 1 to {MAX_KEY_BYTES} bytes, it has {length}")
    return value


def _cost(value: Any) -> int:
    # `type(...) is int`: True is an int for isinstance, and no cost.
    if type(value) is not int:
        raise BadRequest(f"cost must be an integer, not {_type_name(value)}")
    if not 0 <= value <= MAX_COST:
        raise BadRequest(f"cost must be from 0 to {MAX_COST}")
    return value


def _type_name(value: Any) -> str:
    return TYPE_NAMES.get(type(value), "an object")
