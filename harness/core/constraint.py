"""What a ticket must not do, as people write it: parse, and say when a change may be made. Pure, touches nothing.

Text that is not understood is refused, and so is text that is understood and that nothing enforces yet: a constraint
that is read and then ignored would be worse than none.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from harness.core.errors import Invalid
from harness.core.manifest import PeakHours

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HOURS = re.compile(r"no changes (\d\d:\d\d-\d\d:\d\d) ([A-Z][a-z]{2}(?:-[A-Z][a-z]{2})?) (\S+)")
_UNDER = re.compile(r"only files under (\S+)")
_NOT_ENFORCED: Final = {
    r"no new dependencies": "no new dependencies",
    r"at most \d+ nodes? at once": "at most N nodes at once",
    r"max error budget spend \S+": "max error budget spend 5%",
    r"deadline \S+": "deadline 2026-12-01T00:00Z",
}
FORMS: Final = (
    "`requires approval`, `only files under PATH`, `no changes during peak hours`, "
    "`no changes 09:00-17:00 Mon-Fri Europe/Berlin`"
)


class Constraint(ABC):
    """One constraint; ``text`` parses back to an equal one."""

    @staticmethod
    def parse(text: str) -> Constraint:
        """What ``text`` says; raises Invalid with what can be written."""
        words = " ".join(text.split())
        if words == RequiresApproval.text:
            return RequiresApproval()
        if words == DuringPeakHours.text:
            return DuringPeakHours()
        if match := _UNDER.fullmatch(words):
            return OnlyUnder(match[1])
        if match := _HOURS.fullmatch(words):
            return ClosedHours(Hours.parse(match[1], match[2], match[3]))
        for pattern, form in _NOT_ENFORCED.items():
            if re.fullmatch(pattern, words):
                raise Invalid(
                    f"constraint {text!r} (`{form}`) is understood, but nothing enforces it yet; {_allowed()}"
                )
        raise Invalid(f"constraint {text!r} is not understood; {_allowed()}")

    @property
    @abstractmethod
    def text(self) -> str:
        """As it is written."""


def _allowed() -> str:
    return f"write one of {FORMS}"


@dataclass(frozen=True)
class RequiresApproval(Constraint):
    """Every change of the ticket waits for a person's word."""

    text = "requires approval"


@dataclass(frozen=True)
class OnlyUnder(Constraint):
    """A change touches no file outside of this path."""

    path: str

    def __post_init__(self) -> None:
        if self.path.startswith("/") or ".." in self.path.split("/"):
            raise Invalid(f"constraint {self.text!r}: the path is relative to the root of the service's repository")

    @property
    def text(self) -> str:
        return f"only files under {self.path}"

    def outside(self, files: Iterable[str]) -> list[str]:
        """The files that it forbids."""
        folder = f"{self.path.rstrip('/')}/"
        return sorted(file for file in files if file != self.path and not file.startswith(folder))


@dataclass(frozen=True)
class Hours:
    """Hours of some days of the week in a time zone; hours that end before they begin end on the next day."""

    opens: time
    closes: time
    days: tuple[int, ...]
    zone: str
    written: str

    @classmethod
    def parse(cls, hours: str, days: str, zone: str) -> Hours:
        """From ``09:00-17:00``, ``Mon-Fri`` (or one day) and an IANA zone; raises Invalid."""
        written = f"{hours} {days} {zone}"
        first, _, last = days.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise Invalid(f"{written!r}: days are {', '.join(DAYS)}, or a span of them like Mon-Fri")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        try:
            opens, closes = (time.fromisoformat(part) for part in hours.split("-"))
        except ValueError:
            raise Invalid(f"{written!r}: hours are like 09:00-17:00") from None
        if opens == closes:
            raise Invalid(f"{written!r}: the hours begin and end at the same minute")
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise Invalid(f"{written!r}: {zone!r} is no time zone; write it like Europe/Berlin") from None
        return cls(opens, closes, tuple((begin + n) % 7 for n in range((end - begin) % 7 + 1)), zone, written)

    def ends_at(self, now: datetime) -> datetime | None:
        """When the hours that ``now`` lies in are over; None when it lies in none. Daylight saving is the zone's."""
        zone = ZoneInfo(self.zone)
        today = now.astimezone(zone).date()
        for day in (today - timedelta(days=1), today):
            if day.weekday() not in self.days:
                continue
            last_day = day if self.opens < self.closes else day + timedelta(days=1)
            begin = datetime.combine(day, self.opens, zone)
            end = datetime.combine(last_day, self.closes, zone)
            # compared in UTC: the same wall clock can come twice
            if begin.timestamp() <= now.timestamp() < end.timestamp():
                return end
        return None


@dataclass(frozen=True)
class ClosedHours(Constraint):
    """No change of the service within these hours."""

    hours: Hours

    @property
    def text(self) -> str:
        return f"no changes {self.hours.written}"


@dataclass(frozen=True)
class DuringPeakHours(Constraint):
    """No change of the service within the peak hours that its manifest declares."""

    text = "no changes during peak hours"


def check_fit(constraint: Constraint, peak_hours: PeakHours | None, service: str) -> None:
    """Raise Invalid for a constraint that this service gives no meaning to."""
    if isinstance(constraint, DuringPeakHours) and peak_hours is None:
        raise Invalid(f"constraint {constraint.text!r}: {service} declares no peak_hours in its service.yaml")


def closed_until(
    constraints: Sequence[Constraint], peak_hours: PeakHours | None, now: datetime
) -> tuple[Constraint, datetime] | None:
    """The constraint that forbids a change now, and when it no longer does; the one that lasts longest."""
    closed = []
    for constraint in constraints:
        hours: Hours | None = None
        if isinstance(constraint, ClosedHours):
            hours = constraint.hours
        elif isinstance(constraint, DuringPeakHours) and peak_hours is not None:
            hours = Hours.parse(peak_hours.hours, peak_hours.days, peak_hours.zone)
        if hours is not None and (end := hours.ends_at(now)) is not None:
            closed.append((constraint, end))
    return max(closed, key=lambda pair: pair[1], default=None)
