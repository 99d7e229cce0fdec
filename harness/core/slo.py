"""Service level objectives as declared in ``slos/*.yaml``, and their burn rate tiers. Pure, touches nothing.

Tiers follow the multiwindow, multi-burn-rate alerts of the SRE workbook (chapter 5): a tier fires when the burn rate
exceeds its factor over both its long and its short window; factor = budget share x period / long window.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from harness.core import units
from harness.core.criteria import error_ratio_of
from harness.core.declaration import Declaration, Seconds, Share
from harness.core.errors import Invalid
from harness.core.indicator import Indicator
from harness.core.manifest import Counted, Manifest, Metric
from harness.core.slo_documents import promql
from harness.core.slo_documents.promql import Selectors

SCALED_TABLE = "30d"
"""The windows of a period that has no table of its own; its factors scale with the period."""


def _length(length_s: float) -> float:
    if reason := promql.length_fault(length_s):
        raise ValueError(f"{length_s:g}s {reason}")
    return length_s


Length = Annotated[Seconds, AfterValidator(_length)]


class WindowTier(Declaration):
    """Two windows; ``budget``: the share of the error budget that the long one may use up before it fires."""

    severity: Literal["page", "ticket"]
    budget_share: Share | None = Field(default=None, alias="budget")
    long_s: Length = Field(alias="long")
    short_s: Length = Field(alias="short")

    @model_validator(mode="after")
    def _can_fire(self) -> Self:
        if self.budget_share is not None and not 0 < self.budget_share <= 1:
            raise ValueError(f"budget: {self.budget_share:%} is outside of what is allowed, above 0% and up to 100%")
        if self.short_s >= self.long_s:
            raise ValueError(f"short ({self.short_s:g}s) has to be shorter than long ({self.long_s:g}s)")
        return self


class Windows(Declaration):
    """A table of windows, ``slos/windows/NAME.yaml``; the first tier is the fastest."""

    period_s: Length = Field(alias="period")
    tiers: tuple[WindowTier, ...] = Field(min_length=1)

    def over(self, period_s: float) -> tuple[Tier, ...]:
        """Its tiers with the factors of a period, in its order, but those that state no share of a budget."""
        return tuple(
            Tier(tier.severity, tier.long_s, tier.short_s, tier.budget_share * period_s / tier.long_s)
            for tier in self.tiers
            if tier.budget_share is not None
        )


class OnBurn(Declaration):
    """The ticket that a burning objective files."""

    type: Literal["incident", "improvement", "maintenance", "investigation"] = "incident"
    priority: Literal["P0", "P1", "P2", "P3"] = "P2"


class SloSpec(Declaration):
    """An objective as written. ``window`` names a table of windows, or is a period such as ``14d``."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    service: str | None = None
    target: Share
    window: str
    burn_rate_alert: str | None = Field(default=None, pattern=r"^[0-9]+(\.[0-9]+)?x$")
    indicator: Indicator | None = None
    min_events: int = Field(default=200, ge=1)
    on_burn: OnBurn = OnBurn()

    @model_validator(mode="after")
    def _leaves_a_budget(self) -> Self:
        if not 0 < self.target < 1:
            raise ValueError(f"target: {self.target:%} leaves no error budget; allowed above 0% and below 100%")
        if budget_of(self.target) <= 0:
            raise ValueError("target: leaves an error budget that rounds to 0; allowed up to 99.9999999999%")
        if self.burn_rate_alert is not None and float(self.burn_rate_alert.removesuffix("x")) <= 0:
            raise ValueError(f"burn_rate_alert: {self.burn_rate_alert!r} has to be above 0")
        return self


def budget_of(target: float) -> float:
    """The share of bad events that a target allows, without what binary leaves of it."""
    return round(1 - target, 12)


class SloFile(Declaration):
    """A file of ``slos/``."""

    slos: tuple[SloSpec, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Tier:
    """Fires when the burn rate exceeds ``factor`` over both windows."""

    severity: Literal["page", "ticket"]
    long_s: float
    short_s: float
    factor: float


@dataclass(frozen=True)
class Slo:
    """An objective with its tiers. ``target`` and ``error_budget`` are shares 0..1; ``service`` None: the only one."""

    name: str
    service: str | None
    target: float
    window: str
    period_s: float
    tiers: tuple[Tier, ...]
    indicator: Indicator
    min_events: int
    on_burn: OnBurn

    @property
    def error_budget(self) -> float:
        """The share of bad events that the objective allows."""
        return budget_of(self.target)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of the catalog that it is about: those of the manifest; of counters of its own, itself."""
        return self.by_arm or (error_ratio_of(self.name),)

    @property
    def by_arm(self) -> tuple[str, ...]:
        """Those of its metrics in which a canary's arms can be told apart: none, of counters of its own."""
        return self.indicator.metric or ()

    def is_told_within(self, seconds: float) -> bool:
        """Whether so much time is enough to tell how it is: for counters of its own, its shortest window."""
        return bool(self.by_arm) or self.windows_s[0] <= seconds

    @property
    def windows_s(self) -> tuple[float, ...]:
        """Every window that has to be read, shortest first."""
        return tuple(sorted({window for tier in self.tiers for window in (tier.long_s, tier.short_s)}))

    def selectors(self, manifest: Manifest, arm: str) -> Selectors:
        """What to count, for the arms that ``arm``, a regular expression, matches. Raises Invalid for other metrics."""
        if (own := self.indicator.own_selectors()) is not None:
            return own
        ratios = {name: metric for name, metric in manifest.metrics.items() if metric.kind == "ratio"}
        for name in self.by_arm:
            if name not in ratios:
                raise Invalid(f"slo {self.name}: metric {name!r} is no ratio; {units.choices(name, ratios)}")
        totals = sorted({str(ratios[name].total) for name in self.by_arm})
        if len(totals) > 1:
            raise Invalid(f"slo {self.name}: its metrics have different totals: {', '.join(totals)}")
        bad = tuple(str(ratios[name].bad).replace("{arm}", arm) for name in self.by_arm)
        return Selectors(totals[0].replace("{arm}", arm), bad)


def with_objectives(manifest: Manifest, slos: Iterable[Slo]) -> Manifest:
    """The manifest with the error ratio of each objective that has an indicator of its own, as a metric.

    A service that declares one of that name does not move it.
    """
    own = {slo.name: (slo, of) for slo in slos if (of := slo.indicator.own_selectors()) is not None}
    ratios = {
        error_ratio_of(name): Metric(
            kind="objective", unit="%", direction="lower", counted=Counted(of, slo.min_events),
            good=f"below {slo.error_budget * 100:g} %, the error budget of the objective {name}",
        )
        for name, (slo, of) in own.items()
    }  # fmt: skip
    return manifest.model_copy(update={"metrics": {**manifest.metrics, **ratios}})


def parse_slos(document: Any, where: str, windows: Mapping[str, Windows]) -> tuple[Slo, ...]:
    """The objectives of a parsed file; ``windows``: table name → table. Raises Invalid, a line a fault.

    A tier that no share of bad events can make fire is a fault.
    """
    slos, faults = [], []
    for number, spec in enumerate(SloFile.parse(document, where).slos):
        try:
            slos.append(_resolved(spec, windows))
        except Invalid as error:
            faults.append(f"{where}: slos[{number}].{error}")
    twice = sorted({slo.name for slo in slos if [each.name for each in slos].count(slo.name) > 1})
    faults += [f"{where}: slos: {name!r} is declared twice; give each a name of its own" for name in twice]
    if faults:
        raise Invalid("\n".join(faults))
    return tuple(slos)


def _resolved(spec: SloSpec, windows: Mapping[str, Windows]) -> Slo:
    table = windows.get(spec.window)
    period_s = table.period_s if table else _period_s(spec.window, windows)
    tiers = _tiers(spec, table or windows[SCALED_TABLE], period_s)
    for tier in tiers:
        budget = budget_of(spec.target)
        if tier.factor * budget >= 1:
            raise Invalid(
                f"burn_rate_alert: the tier {tier.long_s:g}s/{tier.short_s:g}s can never fire: factor {tier.factor:g} "
                f"x error budget {budget:g} = {tier.factor * budget:g}; allowed factors are below {1 / budget:g}"
            )
    return Slo(
        name=spec.name,
        service=spec.service,
        target=spec.target,
        window=spec.window,
        period_s=period_s,
        tiers=tiers,
        indicator=spec.indicator or Indicator(metric=(spec.name,)),
        min_events=spec.min_events,
        on_burn=spec.on_burn,
    )


def _period_s(window: str, windows: Mapping[str, Windows]) -> float:
    if not re.fullmatch(r"[0-9]+[hd]", window) or SCALED_TABLE not in windows:
        raise Invalid(f"window: no table {window!r}; {units.choices(window, sorted(windows))}")
    period_s = units.seconds(window)
    if reason := promql.length_fault(period_s):
        raise Invalid(f"window: {window[:80]!r} {reason}")
    return period_s


def _tiers(spec: SloSpec, table: Windows, period_s: float) -> tuple[Tier, ...]:
    if spec.burn_rate_alert is not None:
        first, factor = table.tiers[0], float(spec.burn_rate_alert.removesuffix("x"))
        return (Tier(first.severity, first.long_s, first.short_s, factor),)
    tiers = table.over(period_s)
    if len(tiers) < len(table.tiers):
        raise Invalid(f"burn_rate_alert: is missing; table {spec.window!r} has no factors, so write one like 10x")
    return tiers
