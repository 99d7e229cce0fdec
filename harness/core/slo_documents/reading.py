"""What a document of another form is read with: tables of windows, and what the reader adds. Pure, touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.core.slo import Windows
from harness.core.slo_documents.promql import duration


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
        periods = ", ".join(duration(each) for each in sorted(self.catalog))
        return (
            f"period {duration(period_s)}: has no table of alert windows; allowed: {periods}, or give tables by "
            "--slo-period-windows-path"
        )
