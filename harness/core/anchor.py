"""Decides how an anchor is written and read, and what became of a ledger that does not match one. Touches nothing.

An anchor is the head that a ledger had once, kept where whoever can write to the ledger cannot. The chain alone shows
that an event was altered; that the last ones are gone, or that all were written anew with right hashes, an anchor does.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NamedTuple

from harness.core.errors import Invalid
from harness.core.ids import NAMESPACE
from harness.core.record import GENESIS, Recorded, Verification

TRAILER: Final = "Ledger-Head"
"""The trailer of a commit's message that holds an anchor."""

FORM: Final = "POSITION HASH [LEDGER [TIME]], or the JSON of `harness ledger anchor --json`"
_POSITION = re.compile(r"[0-9]{1,18}")
_HASH = re.compile(r"[0-9a-f]{64}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Anchor(NamedTuple):
    """Where a ledger's head was; ``ledger`` says which one (None: not said) and ``at`` when the head was recorded."""

    position: int
    hash: str
    ledger: str | None = None
    at: datetime | None = None

    def line(self) -> str:
        """The anchor in one line, as ``read_anchor`` takes it."""
        words = [str(self.position), self.hash, self.ledger, self.at.isoformat() if self.at else None]
        return " ".join(word for word in words if word is not None)


class Cited(NamedTuple):
    """An anchor and where it stands; ``given`` by a person, or found in a commit of the service's repository."""

    anchor: Anchor
    source: str
    given: bool = True


@dataclass(frozen=True, slots=True)
class Custody:
    """What a ledger is when it is held against anchors: ``anchors`` of them match."""

    found: Verification
    anchors: int


def ledger_name(first: Recorded | None) -> str | None:
    """Which ledger this is, from its first event: a UUID of that event's id and time; None while there is none.

    Not of its hash: who writes the first event anew has rewritten this ledger, and has not brought another.
    """
    return None if first is None else str(uuid.uuid5(NAMESPACE, f"{first.id} {first.recorded_at.isoformat()}"))


def read_anchor(text: str) -> Anchor:
    """The anchor in a line. Raises ``Invalid`` with the reason, and without the place."""
    if text.lstrip().startswith("{"):
        return _checked(_from_json(text))
    words = text.split()
    if not 2 <= len(words) <= 4:
        raise Invalid(f"{len(words)} words are no anchor; allowed is {FORM}")
    return _checked(dict(zip(Anchor._fields, words, strict=False)))


def read_anchors(text: str, name: str) -> list[Cited]:
    """The anchors of a file, one a line; empty lines and those that begin with # are passed over.

    Raises ``Invalid`` with ``name: line: reason`` for the first line that is none, and when there is no anchor at all.
    """
    cited = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            cited.append(Cited(read_anchor(line), f"{name}: {number}"))
        except Invalid as error:
            raise Invalid(f"{name}: {number}: {error}") from None
    if not cited:
        raise Invalid(f"{name}: 1: holds no anchor; `harness ledger anchor` prints one")
    return cited


def cited_in(trailers: Iterable[tuple[str, str]], where: str) -> list[Cited]:
    """The anchors in trailers of commits (key, value); a value that is none was written by somebody else."""
    cited = []
    for key, value in trailers:
        with suppress(Invalid):
            cited.append(Cited(read_anchor(value), f"commit {key} of {where}", given=False))
    return cited


def asked_for(found: Verification, cited: Iterable[Cited]) -> set[int]:
    """The positions whose hashes ``held_against`` needs: those of anchors within the events that hold."""
    return {one.anchor.position for one in cited if 0 < one.anchor.position <= found.events}


def held_against(
    found: Verification, cited: Sequence[Cited], *, ledger: str | None, hashes: Mapping[int, str]
) -> Custody:
    """What the chain alone ``found``, or what the anchors show beyond it: the damage that begins first.

    Args:
        found: what a walk over the ledger found.
        cited: anchors; those of commits that are of another ledger say nothing and are passed over, unless no anchor
            is of this one.
        ledger: the ledger's name, from its first event.
        hashes: those that the ledger has at the positions ``asked_for``.
    """
    if not found.ok and not found.events:
        return Custody(found, 0)  # not even the first event says which ledger this is
    there = {0: GENESIS, **hashes}
    held = [one for one in cited if there.get(one.anchor.position) == one.anchor.hash]
    others = sorted((one for one in cited if there.get(one.anchor.position) != one.anchor.hash), key=_position)
    strange = [one for one in others if ledger and one.anchor.ledger not in (None, ledger)]
    own = [one for one in others if not ledger or one.anchor.ledger in (None, ledger)]
    known = any(one.anchor.position for one in held) or any(one.anchor.ledger == ledger for one in own)
    if strange and not known:
        return Custody(_replaced(strange, ledger), 0)
    if own and own[0].anchor.position <= found.events:
        return Custody(_rewritten(own[0], held, there), len(held))
    if found.first_bad_position is not None:
        return Custody(found, len(held))
    if own:
        return Custody(_truncated(found, own[0]), len(held))
    foreign = next((one for one in strange if one.given), None)
    if found.ok and foreign is not None:
        reason = (
            f"foreign anchor: {foreign.source} is of ledger {foreign.anchor.ledger}, and this is ledger {ledger}; "
            "it says nothing about this one"
        )
        return Custody(replace(found, ok=False, reason=reason), len(held))
    return Custody(found, len(held))


def _position(one: Cited) -> int:
    return one.anchor.position


def _replaced(strange: Sequence[Cited], ledger: str | None) -> Verification:
    first = strange[0]
    or_else = "" if any(not one.given for one in strange) else ", or the anchor is not of this ledger"
    reason = (
        f"replaced: this is ledger {ledger}, and {first.source} is of ledger {first.anchor.ledger}; no anchor is of "
        f"this one: another file stands in its place, or it was written anew from its first event on{or_else}"
    )
    return Verification(False, 0, GENESIS, 1, reason)


def _rewritten(first: Cited, held: Sequence[Cited], hashes: Mapping[int, str]) -> Verification:
    at, was, of = first.anchor.position, first.anchor.hash, first.anchor.ledger
    good = max((one.anchor.position for one in held if one.anchor.position < at), default=0)
    since = f"at position {at}" if good + 1 == at else f"between position {good + 1} and {at}"
    or_else = "" if of or good else " (or the anchor is of another ledger: it does not say of which)"
    reason = (
        f"rewritten: the event at position {at} has the hash {hashes[at]}, and had {was} by {first.source}; "
        f"the first that is another stands {since}{or_else}"
    )
    return Verification(False, good, hashes[good], at, reason)


def _truncated(found: Verification, first: Cited) -> Verification:
    end = found.events
    reason = (
        f"truncated: the ledger ends at position {end}, and {first.source} names an event at position "
        f"{first.anchor.position}; what was recorded after {end} is gone"
    )
    return replace(found, ok=False, first_bad_position=end + 1, reason=reason)


def _from_json(text: str) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        raise Invalid(f"is no JSON; allowed is {FORM}") from None
    unknown = sorted(set(told) - set(Anchor._fields))
    if unknown or not {"position", "hash"} <= set(told):
        raise Invalid(
            f"{unknown[0]!r} is no key of an anchor" if unknown else f"lacks position or hash; allowed is {FORM}"
        )
    return {key: str(value) for key, value in told.items() if value is not None}


def _checked(told: Mapping[str, str]) -> Anchor:
    position, digest, ledger, at = (told.get(name) for name in Anchor._fields)
    if not _POSITION.fullmatch(position or ""):
        raise Invalid(f"position {position!r} is no whole number; allowed is {FORM}")
    if not _HASH.fullmatch(digest or ""):
        raise Invalid(f"hash {digest!r} is not 64 hex digits in lower case; allowed is {FORM}")
    if ledger is not None and not _UUID.fullmatch(ledger):
        raise Invalid(f"ledger {ledger!r} is no UUID in lower case; allowed is {FORM}")
    assert position is not None and digest is not None
    if int(position) == 0 and digest != GENESIS:
        raise Invalid(f"hash {digest!r} at position 0, where no event is, is not {GENESIS[:4]}…: 64 zeros")
    try:
        when = datetime.fromisoformat(at) if at is not None else None
    except ValueError:
        raise Invalid(f"time {at!r} is none, such as 2026-03-01T12:00:00+00:00; allowed is {FORM}") from None
    return Anchor(int(position), digest, ledger, when)
