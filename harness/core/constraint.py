"""What a ticket must not do, as people write it: parse, and say when a change may be made. Pure, touches nothing.

Text that is not understood is refused: a constraint that is read and then ignored would be worse than none.
"""

from __future__ import annotations

import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from harness.core.errors import Invalid
from harness.core.forms import Form, nearest_form
from harness.core.manifest import PeakHours

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
AT_ONCE: Final = 1
"""How many nodes a delivery takes out of service at one time, on its way and on the way back."""
_HOURS = re.compile(r"no changes (\S*\d\S*) (\S+) (\S+)")
_UNDER = re.compile(r"only files under (\S+)")
_NODES = re.compile(r"at most ([0-9]{1,9}) nodes? at once")
_DEADLINE = re.compile(r"deadline (\S+)")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
"""Of what the library takes for a moment: it would have any character between date and time."""
_SPEND = re.compile(r"max error budget spend ([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
_LONGEST: Final = timedelta(days=15)
"""Hours come again every week: what is closed for longer than two never opens."""

_FORMS: Final = (
    Form("requires approval", said=("needs approval", "approval required", "ask first")),
    Form("only files under {}", ((r"\S+/\S*", "src"),), ("only in src", "only change src", "restrict to src")),
    Form("no changes during peak hours", said=("not in peak hours", "no deploys during peak hours", "off-peak only")),
    Form(
        "no changes {} {} {}",
        ((r"\d\d:\d\d-\d\d:\d\d", "09:00-17:00"), (r"\b[A-Z][a-z]{2}(?:-[A-Z][a-z]{2})?\b", "Mon-Fri"),
         (r"\b(?:UTC|[A-Z]\w+/\S+)", "Europe/Berlin")),
        ("no changes from 9 to 17 on weekdays", "no deploys 9:00 - 17:00"),
    ),
    Form("no new dependencies", said=("no new packages", "no new libraries", "no dependencies")),
    Form("at most {} nodes at once", ((r"[1-9]\d*", "2"),), ("max 1 node", "one node at a time", "1 node at once")),
    Form(
        "max error budget spend {}%", ((r"\d+(?:\.\d+)?", "5"),),
        ("at most 5% of the error budget", "error budget spend max 5%"),
    ),
    Form("deadline {}", ((r"\d{4}-\d\d-\d\dT\S+", "2026-12-01T00:00Z"),), ("due 2026-12-01", "until 2026-12-01")),
)  # fmt: skip
FORMS: Final = ", ".join(f"`{form.example}`" for form in _FORMS)


class Constraint(ABC):
    """One constraint; ``text`` parses back to an equal one."""

    @staticmethod
    def parse(text: str) -> Constraint:
        """What ``text`` says; raises Invalid with what can be written, and which of that is nearest."""
        words = " ".join(text.split())
        try:
            return _read(words)
        except Invalid as error:
            raise Invalid(f"{error}; nearest form: `{nearest_form(words, _FORMS, _read)}`") from None

    @property
    @abstractmethod
    def text(self) -> str:
        """As it is written."""


def _read(words: str) -> Constraint:
    for fixed in (RequiresApproval(), DuringPeakHours(), NoNewDependencies()):
        if words == fixed.text:
            return fixed
    if match := _UNDER.fullmatch(words):
        return OnlyUnder(match[1])
    if match := _HOURS.fullmatch(words):
        return ClosedHours(Hours.parse(match[1], match[2], match[3]))
    if match := _NODES.fullmatch(words):
        return NodesAtOnce(int(match[1]))
    if match := _SPEND.fullmatch(words):
        return ErrorBudgetSpend(match[1])
    if match := _DEADLINE.fullmatch(words):
        return Deadline(match[1])
    raise Invalid(f"constraint {words!r} is not understood; write one of {FORMS}")


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
        if {"", "."} & set(self.path.removesuffix("/").split("/")) or set("*?[") & set(self.path):
            raise Invalid(
                f"constraint {self.text!r}: no file of a change is named like this; write the path of a file or a "
                "folder, as in `only files under src/app`"
            )

    @property
    def text(self) -> str:
        return f"only files under {self.path}"

    def outside(self, files: Iterable[str]) -> list[str]:
        """The files that it forbids."""
        folder = f"{self.path.rstrip('/')}/"
        return sorted(file for file in files if file != self.path and not file.startswith(folder))


@dataclass(frozen=True)
class NoNewDependencies(Constraint):
    """A change brings no package into a lock of the service that was in none of them; other versions it may."""

    text = "no new dependencies"


@dataclass(frozen=True)
class NodesAtOnce(Constraint):
    """A delivery has no more nodes than this out of service at one time; every delivery keeps to ``AT_ONCE``."""

    most: int

    def __post_init__(self) -> None:
        if self.most < AT_ONCE:
            raise Invalid(f"constraint {self.text!r}: a delivery takes one node after the other, and less is nothing")

    @property
    def text(self) -> str:
        return f"at most {self.most} node{'s' * (self.most != 1)} at once"


@dataclass(frozen=True)
class ErrorBudgetSpend(Constraint):
    """The ticket's deliveries together spend no more than this of any objective's error budget."""

    percent: str
    """As written."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise Invalid(f"constraint {self.text!r}: allowed is above 0% and up to 100%")

    @property
    def share(self) -> float:
        """Of the budget of the objective's period, 0..1."""
        return float(self.percent) / 100

    @property
    def text(self) -> str:
        return f"max error budget spend {self.percent}%"


@dataclass(frozen=True)
class Deadline(Constraint):
    """From then on nothing more is begun for the ticket, and a person is called."""

    written: str

    def __post_init__(self) -> None:
        example = "write it like 2026-12-01T00:00Z or 2026-12-01T00:00+01:00"
        try:
            at = datetime.fromisoformat(self.written) if _MOMENT.fullmatch(self.written) else None
        except ValueError:
            at = None
        if at is None:
            raise Invalid(f"constraint {self.text!r}: {self.written!r} is no moment; {example}")
        if at.utcoffset() is None:
            raise Invalid(f"constraint {self.text!r}: {self.written!r} says no time zone; {example}")

    @property
    def at(self) -> datetime:
        """The moment."""
        return datetime.fromisoformat(self.written)

    @property
    def text(self) -> str:
        return f"deadline {self.written}"


@dataclass(frozen=True)
class Hours:
    """Hours of some days of the week in a time zone; hours that end before they begin end on the next day.

    Where the clocks change they are read wide. Of a minute that comes twice, hours begin at the first, and they end
    after the last showing of their last minute; instead of a minute that is skipped, the first one after it counts.
    """

    opens: time
    closes: time
    days: tuple[int, ...]
    zone: str
    written: str

    @classmethod
    def parse(cls, hours: str, days: str, zone: str) -> Hours:
        """From ``09:00-17:00``, ``Mon-Fri`` (or one day) and an IANA zone; ``00:00-24:00`` is a whole day."""
        written = f"{hours} {days} {zone}"
        match = _SPAN.fullmatch(hours)
        if match is None:
            raise Invalid(f"{written!r}: hours are like 09:00-17:00, a whole day is 00:00-24:00")
        opens, closes = time.fromisoformat(match[1]), time.fromisoformat(match[2].replace("24:00", "00:00"))
        if opens == closes and match[2] != "24:00":
            raise Invalid(f"{written!r}: the hours begin and end at the same minute; a whole day is 00:00-24:00")
        first, _, last = days.partition("-")
        for day in (first, last) if "-" in days else (first,):
            if day not in DAYS:
                raise Invalid(f"{written!r}: days are {', '.join(DAYS)}, or a span of them like Mon-Fri")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        try:
            known = not _NOT_NAMED.match(zone) and ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            known = False
        if not known:
            near = difflib.get_close_matches(zone, sorted(available_timezones()), n=1, cutoff=0.6) or ["Europe/Berlin"]
            raise Invalid(f"{written!r}: {zone!r} is no time zone; nearest: {near[0]}")
        return cls(opens, closes, tuple((begin + n) % 7 for n in range((end - begin) % 7 + 1)), zone, written)

    def ends_at(self, now: datetime) -> datetime | None:
        """When the hours that ``now`` lies in are over, by the zone's clock; None when it lies in none."""
        zone = ZoneInfo(self.zone)
        today = now.astimezone(zone).date()
        for day in (today - timedelta(days=1), today):
            if day.weekday() not in self.days:
                continue
            last_day = day if self.opens < self.closes else day + timedelta(days=1)
            if _first(day, self.opens, zone) <= now < (end := _end(last_day, self.closes, zone)):
                return end
        return None


_NOT_NAMED = re.compile(r"localtime$|Factory$|(?:posix|right)/")
"""What zone files hold beside the zones' names: this machine's own, none, and what another machine may lack."""
_SPAN = re.compile(r"((?:[01][0-9]|2[0-3]):[0-5][0-9])-((?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00)")


_MINUTE = timedelta(minutes=1)


def _first(day: date, at: time, zone: ZoneInfo) -> datetime:
    """When the zone's clock first shows this, or the first minute after it that it does show."""
    wall = datetime.combine(day, at)
    while not _shown(wall, zone):
        wall += _MINUTE
    return _moment(wall, zone, fold=0)


def _end(day: date, at: time, zone: ZoneInfo) -> datetime:
    """When hours that end at this are over: a minute after the last showing of the one before it."""
    last = datetime.combine(day, at) - _MINUTE
    return _moment(last, zone, fold=1) + _MINUTE if _shown(last, zone) else _first(day, at, zone)


def _shown(wall: datetime, zone: ZoneInfo) -> bool:
    return wall.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == wall


def _moment(wall: datetime, zone: ZoneInfo, *, fold: Literal[0, 1]) -> datetime:
    """With an offset of its own: moments in one zone are compared by their clock, which may show a minute twice."""
    there = wall.replace(tzinfo=zone, fold=fold)
    return there.astimezone(timezone(there.utcoffset() or timedelta()))


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


def check_time(constraints: Sequence[Constraint], peak_hours: PeakHours | None, now: datetime) -> None:
    """Raise Invalid where they leave no time for a change: for ever closed, or a deadline that is over by then."""
    closed, due = closed_until(constraints, peak_hours, now), due_at(constraints)
    if due is not None and due <= now:
        raise Invalid(f"the deadline {_minute(due)} is over; now it is {_minute(now)}")
    if due is not None and closed is not None and due <= closed[1]:
        raise Invalid(
            f"{closed[0].text!r} allows no change before {_minute(closed[1])}, and the deadline is at {_minute(due)}"
        )


def _minute(moment: datetime) -> str:
    return moment.isoformat(timespec="minutes")


def due_at(constraints: Iterable[Constraint]) -> datetime | None:
    """The earliest deadline; None without one."""
    return min((one.at for one in constraints if isinstance(one, Deadline)), default=None)


def spend_at_most(constraints: Iterable[Constraint]) -> float | None:
    """The least share of an error budget (0..1) that one of them allows; None without one."""
    return min((one.share for one in constraints if isinstance(one, ErrorBudgetSpend)), default=None)


def closed_until(
    constraints: Sequence[Constraint], peak_hours: PeakHours | None, now: datetime
) -> tuple[Constraint, datetime] | None:
    """The constraint that forbids a change now (of several, the one that lasts longest), and when none does any more.

    Raises Invalid when that never comes.
    """
    first: Constraint | None = None
    moment = now
    while ends := [
        (one, end) for one in constraints
        if (hours := _hours(one, peak_hours)) is not None and (end := hours.ends_at(moment)) is not None
    ]:  # fmt: skip
        last, moment = max(ends, key=lambda pair: pair[1])
        first = first or last
        if moment - now > _LONGEST:
            raise Invalid(f"constraint {first.text!r} leaves no hour of any week in which something may be changed")
    return None if first is None else (first, moment)


def _hours(constraint: Constraint, peak_hours: PeakHours | None) -> Hours | None:
    if isinstance(constraint, ClosedHours):
        return constraint.hours
    if isinstance(constraint, DuringPeakHours) and peak_hours is not None:
        return Hours.parse(peak_hours.hours, peak_hours.days, peak_hours.zone)
    return None
