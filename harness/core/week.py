"""A week as people name it: `2026-W47`, Monday to Monday in UTC. Pure; touches nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from harness.core.errors import Invalid

_WRITTEN = re.compile(r"([0-9]{4})-W([0-9]{2})")
_LENGTH = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Week:
    """A week of ISO 8601; ``start`` is the first moment of its Monday."""

    start: datetime

    @classmethod
    def parse(cls, text: str) -> Week:
        """``2026-W47``. Raises Invalid for anything else, a week that its year does not have included."""
        match = _WRITTEN.fullmatch(text)
        try:
            if match is None:
                raise ValueError("write a year and a week")
            week = cls(datetime.fromisocalendar(int(match[1]), int(match[2]), 1).replace(tzinfo=UTC))
            week.end  # noqa: B018 – the last week of the calendar has no end
        except (ValueError, OverflowError) as error:
            raise Invalid(f"--week {text[:40]}: {error}; a week is written like 2026-W47") from None
        return week

    @classmethod
    def of(cls, moment: datetime) -> Week:
        """The week in which the moment lies."""
        year, week, _ = moment.astimezone(UTC).isocalendar()
        return cls(datetime.fromisocalendar(year, week, 1).replace(tzinfo=UTC))

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return self.start + _LENGTH

    @property
    def before(self) -> Week:
        """The week before."""
        return Week(self.start - _LENGTH)

    @property
    def text(self) -> str:
        """As it is written; parses back to the same week."""
        year, week, _ = self.start.isocalendar()
        return f"{year:04d}-W{week:02d}"

    def holds(self, moment: datetime) -> bool:
        """Whether the moment lies in it."""
        return self.start <= moment < self.end
