"""What could be better ahead: a limit that a trend will reach, capacity that nobody needs. Decides; touches nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from harness.core.criteria import Compare
from harness.core.errors import Invalid
from harness.core.invariant import Invariant
from harness.core.manifest import Metric
from harness.core.operation import AFTER, Catalog, facts, free_after
from harness.core.policy import Ahead
from harness.core.slo import Slo
from harness.core.trend import breach, trend_of
from harness.core.units import Quantity

LEAST, MOST = 0.1, 0.5
"""What is asked of a ticket for a trend: the part that the metric became worse by, but within these bounds."""
FEWER: Final = "remove_node"

Sort = Literal["trend", "margin", "slower"]
Series = Mapping[str, Sequence[float | None]]
"""Metric → its value over each window, in the order of time."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A declared limit of a metric: ``upper`` is one that it must stay below. ``by`` says who declared it."""

    metric: str
    limit: float
    upper: bool
    by: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """Something that could be better. ``level``: where the metric stands."""

    sort: Sort
    metric: str
    level: float
    reason: str
    condition: str
    objective: str
    of: str = ""
    """Of what that is, where it is not the metric itself."""

    @property
    def name(self) -> str:
        """By which it is filed: a tunable has no colon in its name."""
        return f"{self.sort}:{self.of or self.metric}"


def bounds(slos: Sequence[Slo], invariants: Sequence[Invariant]) -> list[Bound]:
    """Every declared limit that a metric can reach: of invariants that compare, and the budgets of objectives."""
    compared = [(one, one.condition.condition) for one in invariants]
    return [
        *(
            Bound(one.metric, condition.limit.base, condition.op in ("<", "<="), f"the invariant {one.name}")
            for one, condition in compared
            if isinstance(condition, Compare) and condition.op != "=="
        ),
        *(Bound(name, slo.error_budget, True, f"the objective {slo.name}") for slo in slos for name in slo.metrics),
    ]  # fmt: skip


def trends(series: Series, metrics: Mapping[str, Metric], limits: Sequence[Bound], policy: Ahead) -> list[Outlook]:
    """Every limit that is reached within policy's time if things go on as they did, the soonest first."""
    found: list[tuple[float, Outlook]] = []
    for bound in limits:
        trend = trend_of(series[bound.metric], policy.window_s)
        ahead = breach(trend, bound.limit, upper=bound.upper) if trend else None
        if trend is None or ahead is None or ahead.in_s > policy.breach_within_s:
            continue
        unit, span = metrics[bound.metric].unit, policy.look_back_s
        now, then, limit = (
            Quantity.of(value, unit).text for value in (trend.level, trend.before(span), bound.limit)
        )  # fmt: skip
        part = abs(trend.level - trend.before(span)) / abs(trend.level) if trend.level else MOST
        asked = Quantity.of(min(MOST, max(LEAST, part)), "%", 2).text
        when = f"in about {length(ahead.in_s)} ({length(ahead.soonest_s)} to {length(ahead.latest_s)})"
        found.append((ahead.in_s, Outlook(
            "trend", bound.metric, trend.level, condition=f"at least {asked} better",
            reason=f"{bound.metric} went from {then} to {now} in {length(span)}; "
            f"{bound.by}, {limit}, is reached {when} if it goes on so",
            objective=f"Turn the trend of {bound.metric} before {bound.by} is broken, {when}",
        )))  # fmt: skip
    return [outlook for _, outlook in sorted(found, key=lambda one: one[0])]


def spare_capacity(
    series: Series, slos: Sequence[Slo], catalog: Catalog, nodes: int, policy: Ahead
) -> Outlook | None:  # fmt: skip
    """One node fewer would have done at every moment that was looked at, with all objectives met by far.

    That it would do is what the catalog asks before a node is removed, of the least that was free. None where a metric
    that is asked for was not there for more than half of the time, or the catalog removes no nodes.
    """
    shares = {name: known(series[name]) for slo in slos for name in slo.metrics}
    for slo in slos:
        if any(shares[name] is None for name in slo.metrics):
            return None
        spent = sum(sum(seen) / len(seen) for name in slo.metrics if (seen := shares[name]))
        if spent > slo.error_budget * (1 - policy.unspent):
            return None
    try:
        action = catalog.action(FEWER)
    except Invalid:
        return None
    # As if all nodes answered: what was free is known of the whole fleet.
    names = [str(number) for number in range(nodes)]
    asked = facts(action.operation({"node": names[0]}), names, names) if names else {}
    free: tuple[str, float, float] | None = None
    for precondition in action.preconditions:
        name, value = precondition.metric, asked.get(precondition.metric)
        if value is None and name.endswith(AFTER):
            metric = name.removesuffix(AFTER)
            if (seen := known(series.get(metric, ()))) is None:
                return None
            value = free_after(min(seen), asked)
            middle = sorted(seen)[len(seen) // 2]
            free = (metric, middle, free_after(middle, asked) or 0.0)
        if precondition.condition.holds(value) is not True:
            return None
    if free is None:
        return None
    metric, now, after = free
    limit = Quantity.of((now + after) / 2, "%", 2).text
    return Outlook(
        "margin", metric, now, condition=f"< {limit}",
        reason=f"{metric} was {Quantity.of(now, '%').text} in the middle of {length(policy.look_back_s)} with {nodes} "
        f"nodes; with {nodes - 1} it would have been {Quantity.of(after, '%').text}, never below what removing one "
        f"asks for, and every objective left {policy.unspent:.0%} of its budget",
        objective=f"Serve the same demand with fewer than {nodes} nodes",
    )  # fmt: skip


def wanted(limits: Sequence[Bound], catalog: Catalog, metrics: Mapping[str, Metric]) -> tuple[str, ...]:
    """The metrics that have to be read, without those of a tree."""
    asked = [one.metric.removesuffix(AFTER) for action in catalog.actions for one in action.preconditions]
    named = dict.fromkeys([*(bound.metric for bound in limits), *asked])
    return tuple(name for name in named if name in metrics and not metrics[name].of_tree)


def known(values: Sequence[float | None]) -> list[float] | None:
    """Those that are known; None where that is not most of them."""
    seen = [value for value in values if value is not None]
    return seen if len(seen) * 2 > len(values) else None


def length(seconds: float) -> str:
    """A length of time for people: ``12 d``, ``7 h``, ``40 min``."""
    for unit, size_s in (("d", 86_400), ("h", 3_600)):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.0f} {unit}"
    return f"{seconds / 60:.0f} min"
