"""Reads what the users were promised, the limit and what counts as slow; decides nothing about an answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

_UNIT_NS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
_DURATION = re.compile(r"([1-9][0-9]*)(ms|s|m|h|d)")
_RATE = re.compile(r"([1-9][0-9]*)/([1-9][0-9]*(?:ms|s|m|h|d))")


class ContractError(ValueError):
    """The contract cannot be used as it stands: names the file, the value and what is allowed."""


@dataclass(frozen=True, slots=True)
class GcraLimit:
    """``count`` units per ``period_ns`` on average, up to ``burst`` at once."""

    name: str
    count: int
    period_ns: int
    burst: int

    @property
    def interval_floor_ns(self) -> int:
        """The shortest time per unit, in whole nanoseconds, that a service may account with."""
        return self.period_ns // self.count

    @property
    def interval_ceil_ns(self) -> int:
        """The longest time per unit, in whole nanoseconds, that a service may account with."""
        return -(-self.period_ns // self.count)


@dataclass(frozen=True, slots=True)
class Contract:
    """One limit, and the latency (ns) from which an answer is slow."""

    limit: GcraLimit
    slow_ns: int


def read_contract(path: Path) -> Contract:
    """Read a contract file: ``limits`` with exactly one gcra limit, and ``slow``. Raises ContractError."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ContractError(f"{path}: cannot be read as YAML: {error}") from error
    try:
        return parse_contract(document)
    except ContractError as error:
        raise ContractError(f"{path}: {error}") from error


def parse_contract(document: object) -> Contract:
    """The contract in a parsed document. Raises ContractError."""
    if not isinstance(document, dict) or set(document) != {"limits", "slow"}:
        raise ContractError("the document must be a mapping with exactly the keys limits and slow")
    limits = document["limits"]
    if not isinstance(limits, list) or len(limits) != 1:
        raise ContractError("limits: must be a list of exactly one limit, the one that the users play against")
    return Contract(limit=_parse_limit(limits[0]), slow_ns=_parse_duration_ns("slow", document["slow"]))


def _parse_limit(entry: object) -> GcraLimit:
    if not isinstance(entry, dict) or set(entry) != {"name", "algorithm", "rate", "burst"}:
        raise ContractError("limits[0]: must be a mapping with exactly the keys name, algorithm, rate and burst")
    name, burst = entry["name"], entry["burst"]
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
        raise ContractError(f"limits[0].name: {name!r}, allowed are 1 to 64 of A-Z a-z 0-9 _ . -")
    if entry["algorithm"] != "gcra":
        raise ContractError(f"limits[0].algorithm: {entry['algorithm']!r}, the follower knows only gcra")
    if type(burst) is not int or burst < 1:
        raise ContractError(f"limits[0].burst: {burst!r}, must be a whole number of at least 1")
    rate = _RATE.fullmatch(str(entry["rate"]))
    if rate is None:
        raise ContractError(f"limits[0].rate: {entry['rate']!r}, must be like 44/1m (units ms s m h d)")
    period_ns = _parse_duration_ns("limits[0].rate", rate[2])
    if int(rate[1]) > period_ns:
        raise ContractError(f"limits[0].rate: {entry['rate']!r}, must be at most one unit per nanosecond")
    return GcraLimit(name=name, count=int(rate[1]), period_ns=period_ns, burst=burst)


def _parse_duration_ns(where: str, value: object) -> int:
    duration = _DURATION.fullmatch(str(value))
    if duration is None:
        raise ContractError(f"{where}: {value!r}, must be a duration like 50ms (units ms s m h d)")
    return int(duration[1]) * _UNIT_NS[duration[2]]
