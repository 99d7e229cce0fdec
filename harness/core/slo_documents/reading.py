"""What a document of another form is read with: tables of windows, and what the reader adds. Pure, touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.core.slo import Windows


@dataclass(frozen=True)
class Reading:
    """``catalog``: period (seconds) → table; ``period_s``: that of a document which states none.

    ``alerts``: whether alerts are wanted of it.
    """

    catalog: Mapping[float, Windows]
    period_s: float
    extra_labels: Mapping[str, str]
    alerts: bool

    def no_table(self, period_s: float) -> str:
        """That a period has no table of alert windows, and the way out."""
        periods = ", ".join(map(_days, sorted(self.catalog)))
        return (
            f"a period of {_days(period_s)} has no table of alert windows; allowed: {periods}, or give tables by "
            "--slo-period-windows-path"
        )


def _days(length_s: float) -> str:
    return f"{length_s / 86400:g}d"
