"""Which split of a data set a ticket belongs to: train, validation or test. Decides; touches nothing.

Tickets of one cause, or of one lineage, are alike: they always stand in one split, whichever format is exported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal

Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")
_TRAIN, _VALIDATION = 80, 90  # per cent of the hashes, up to here


@dataclass(frozen=True, slots=True)
class Kin:
    """What ties a ticket to others: its cause, and the tickets that it comes from."""

    ticket: str
    fingerprint: str | None
    comes_from: tuple[str, ...] = ()


def splits(tickets: Iterable[Kin]) -> dict[str, Split]:
    """Ticket → split. Tickets in the order of filing: the first one of a family decides, so that later ones follow."""
    family: dict[str, str] = {}
    ordered = list(tickets)
    for one in ordered:
        _join(family, one)
    first: dict[str, str] = {}
    for one in ordered:
        first.setdefault(_root(family, f"ticket {one.ticket}"), one.fingerprint or f"ticket {one.ticket}")
    return {one.ticket: _of(first[_root(family, f"ticket {one.ticket}")]) for one in ordered}


def lineage(ticket: str, recurrence_of: Mapping[str, str | None]) -> list[str]:
    """The tickets that this one comes back from, oldest first."""
    line: list[str] = []
    before = recurrence_of.get(ticket)
    while before is not None and before not in line and before != ticket:
        line.insert(0, before)
        before = recurrence_of.get(before)
    return line


def _join(family: dict[str, str], one: Kin) -> None:
    ties = [f"ticket {name}" for name in one.comes_from] + ([f"cause {one.fingerprint}"] if one.fingerprint else [])
    for tie in ties:
        family[_root(family, tie)] = _root(family, f"ticket {one.ticket}")


def _root(family: dict[str, str], name: str) -> str:
    above = family.setdefault(name, name)
    while above != family[above]:
        family[name] = above = family[above]
    return above


def _of(key: str) -> Split:
    percent = int.from_bytes(sha256(key.encode()).digest()[:8]) * 100 >> 64
    return "train" if percent < _TRAIN else "validation" if percent < _VALIDATION else "test"
