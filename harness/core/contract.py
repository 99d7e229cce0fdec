"""What users were promised, whatever a ticket is about: shares that stay within bounds. Pure, touches nothing.

It stands outside the service's repository, so that no change on trial moves the measure that it is judged by. A change
that removes a limit serves everybody fast and denies nobody: nothing else that is measured speaks against it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import Field

from harness.core.criteria import Compare, NoRegression
from harness.core.declaration import Declaration, Share
from harness.core.events import Comparison, Measurement
from harness.core.manifest import Manifest, Metric
from harness.core.regression import held
from harness.core.units import Quantity


class Promise(Declaration):
    """A share of requests (0..1), at most ``at_most``: ``bad`` and ``total`` are counters of the users' side.

    In a canary both arms begin with empty state, so what lost state explains is in both: only the difference counts.
    """

    metric: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    bad: str
    total: str
    at_most: Share = Field(gt=0, lt=1)
    what: str

    def measured_by(self) -> Metric:
        """The metric as a manifest declares one."""
        return Metric(
            kind="ratio", bad=self.bad, total=self.total, unit="%", direction="lower",
            good=f"at most {100 * self.at_most:g} %: {self.what}",
        )  # fmt: skip


def with_promises(manifest: Manifest, promises: Iterable[Promise]) -> Manifest:
    """The manifest with the promised metrics; a service that declares one of that name does not move it."""
    promised = {promise.metric: promise.measured_by() for promise in promises}
    return manifest.model_copy(update={"metrics": {**manifest.metrics, **promised}})


@dataclass(frozen=True, slots=True)
class Kept:
    """Whether a promise is kept. ``before``: right before the change; None where nothing was measured then.

    Where it was broken already, that is not the change's doing: it must only not be shown to be worse.
    """

    promise: Promise
    before: Measurement | None
    now: Measurement
    design_effect: float
    alpha: float

    @property
    def condition(self) -> str:
        """``<= 0.5%``, or ``no regression``"""
        if self._was_broken:
            return NoRegression(None).text
        return Compare("<=", Quantity.parse(f"{100 * self.promise.at_most:.4g}%")).text

    @property
    def met(self) -> bool | None:
        """None, which is never kept, when it was not measured."""
        if self.now.value is None:
            return None
        if self.now.value <= self.promise.at_most or not self._was_broken:
            return self.now.value <= self.promise.at_most
        return self._no_regression[0]

    @property
    def compared(self) -> Comparison | None:
        """The test, where it only must not be worse."""
        return self._no_regression[1] if self._was_broken else None

    @property
    def _no_regression(self) -> tuple[bool | None, Comparison | None]:
        return held(
            NoRegression(None), self.before, self.now, self.promise.measured_by(), design_effect=self.design_effect,
            alpha=self.alpha,
        )  # fmt: skip

    @property
    def _was_broken(self) -> bool:
        return self.before is not None and (self.before.value or 0.0) > self.promise.at_most
