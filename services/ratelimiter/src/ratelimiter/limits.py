"""Reads the limits file and refuses what it cannot mean. Touches that one file, at start, and nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from ratelimiter.gcra import Quota

UNIT_NS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3_600 * 10**9, "d": 86_400 * 10**9}
RATE = re.compile(r"(\d{1,10})/(\d{1,6})(ms|s|m|h|d)", re.ASCII)
# Names stand in header fields and metric labels without quoting.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
MAX_TOKENS = 10**9
# A bucket that takes longer to fill again is a slip of the pen; the bound also keeps every sum far from overflow.
MAX_REFILL_NS = 366 * UNIT_NS["d"]
FIELDS = ("name", "algorithm", "rate", "burst")


class InvalidLimits(Exception):
    """The limits file cannot be used. The message says where, why, and what is allowed."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A named quota; ``rate`` is the text of the file, kept for people."""

    name: str
    rate: str
    quota: Quota


@dataclass(frozen=True, slots=True)
class LimitsFile:
    """All limits of a file in its order; ``version`` is the first 12 hex digits of the SHA-256 of its bytes."""

    version: str
    limits: tuple[Limit, ...]


def read_limits(path: Path) -> LimitsFile:
    """Read and validate ``path``. Raises InvalidLimits, also when the file is missing."""
    try:
        content = path.read_bytes()
        document = yaml.safe_load(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidLimits(f"{path}: cannot be read: {error}") from error
    if not isinstance(document, dict) or set(document) != {"limits"}:
        raise InvalidLimits(f"{path}: must be a mapping with the single key `limits`")
    items = document["limits"]
    if not isinstance(items, list) or not items:
        raise InvalidLimits(f"{path}: limits: must be a list of at least one limit")
    limits = tuple(_limit(f"{path}: limits[{index}]", item) for index, item in enumerate(items))
    names = [limit.name for limit in limits]
    for name in names:
        if names.count(name) > 1:
            raise InvalidLimits(f"{path}: limits: the name {name!r} is used more than once")
    return LimitsFile(sha256(content).hexdigest()[:12], limits)


def _limit(where: str, item: Any) -> Limit:
    if not isinstance(item, dict) or set(item) != set(FIELDS):
        raise InvalidLimits(f"{where}: must have exactly the fields {', '.join(FIELDS)}")
    if not isinstance(item["name"], str) or not NAME.fullmatch(item["name"]):
        raise InvalidLimits(f"{where}.name: {item['name']!r} is no name (letters, digits, `_`, `.`, `-`; at most 64)")
    if item["algorithm"] != "gcra":
        raise InvalidLimits(f"{where}.algorithm: {item['algorithm']!r} is unknown; known: gcra")
    count, period_ns = _rate(f"{where}.rate", item["rate"])
    quota = Quota(count, period_ns, _burst(f"{where}.burst", item["burst"]))
    if quota.refill_ns > MAX_REFILL_NS:
        raise InvalidLimits(f"{where}: a full burst would take more than 366d to flow back")
    return Limit(item["name"], item["rate"], quota)


def _rate(where: str, value: Any) -> tuple[int, int]:
    match = RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise InvalidLimits(f"{where}: {value!r} is no rate; write COUNT/PERIOD like 44/1m, units {', '.join(UNIT_NS)}")
    count, period_ns = int(match[1]), int(match[2]) * UNIT_NS[match[3]]
    if not 1 <= count <= MAX_TOKENS or period_ns == 0:
        raise InvalidLimits(f"{where}: {value!r} is out of bounds, 1 to {MAX_TOKENS} tokens in a period above 0")
    return count, period_ns


def _burst(where: str, value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MAX_TOKENS:
        raise InvalidLimits(f"{where}: {value!r} is no burst, an integer from 1 to {MAX_TOKENS}")
    return value
