"""What a ticket's deliveries spent of error budgets, where a constraint limits that. Reads metrics; writes what it saw
to the ticket's own stream.

What is not known is not zero: no delivery begins, and no gate passes, while the counters cannot be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from harness.core import events as e
from harness.core.constraint import spend_at_most
from harness.core.errors import Invalid, Retryable
from harness.core.manifest import Manifest
from harness.core.overspend import beyond, has_just_begun, share_spent, why_too_much
from harness.core.sequential import Counts
from harness.core.slo import Slo
from harness.core.slo_documents.promql import Selectors
from harness.counters import named, read
from harness.journal import Journal
from harness.measure import EVERY_ARM
from harness.objectives import spent
from harness.ports import Metrics

At = Literal["begun", "exceeded", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overspend:
    """The error budgets of all objectives, each by itself, beside what a ticket may spend of them."""

    journal: Journal
    manifest: Manifest
    slos: tuple[Slo, ...]
    metrics: Metrics

    async def begin(self) -> str:
        """Right before an attempt touches the service: from here on is counted. Why it may not begin, else empty.

        Raises Retryable while nothing can be counted.
        How the service was is asked once, before the first attempt: later windows hold what an earlier one did.
        """
        at_most, n = spend_at_most(self.journal.spec().limits()), self.journal.ticket.attempt.n
        if at_most is None or self._told(n, "begun"):
            return ""
        if not self.slos:
            return f"error budget: {self.manifest.name} has no objective, and the ticket limits what is spent of them"
        now, last = self.journal.clock.now(), self._last_of_earlier(n)
        known = {one.objective: one for one in last.objectives} if last else {}
        seen = []
        for slo in self.slos:
            if (before := known.get(slo.name)) is None:
                seen.append(await self._as_before(slo, now))
                continue
            assert last is not None
            if last.at != "ended":  # nothing says that it did
                before = await self._counted(slo, before, now)
            seen.append(
                before.model_copy(update={"earlier": _events(before), "since": now, "until": now, "bad": 0, "total": 0})
            )
        return self._record(n, "begun", at_most, seen)

    async def judge(self) -> str:
        """Why nothing of this attempt may stay, or begin, as it spent too much; empty when it did not.

        Raises Retryable when the counters cannot be read.
        """
        at_most, n = spend_at_most(self.journal.spec().limits()), self.journal.ticket.attempt.n
        if done := self._told(n, "exceeded"):
            return done.reason
        begun = self._told(n, "begun")
        if at_most is None or begun is None:
            return ""
        seen = await self._all_counted(begun)
        if not _why(seen, at_most):
            return ""
        return self._record(n, "exceeded", at_most, seen)

    async def judge_if_readable(self) -> str:
        """As ``judge``, while traffic is on: to wait elsewhere would leave what is tried its traffic. What nobody could
        read is asked for at the next gate."""
        try:
            return await self.judge()
        except Retryable:
            return ""

    async def end(self) -> None:
        """Nothing of this attempt is under way any more. What cannot be read now is counted when the next one begins,
        as if it had gone on until then."""
        at_most, n = spend_at_most(self.journal.spec().limits()), self.journal.ticket.attempt.n
        begun = self._told(n, "begun")
        if at_most is None or begun is None or self._told(n, "ended"):
            return
        try:
            seen = await self._all_counted(begun)
        except Retryable:
            return
        self._record(n, "ended", at_most, seen)

    def _told(self, n: int, at: At) -> e.BudgetSpendJudged | None:
        return self.journal.recorded(f"{n}/spend/{at}", e.BudgetSpendJudged)

    def _last_of_earlier(self, n: int) -> e.BudgetSpendJudged | None:
        earlier = [one for one in _all_told(self.journal) if one.attempt < n]
        return max(earlier, key=lambda one: one.attempt * 2 + (one.at == "ended"), default=None)

    def _record(self, n: int, at: At, at_most: float, seen: list[e.BudgetSpend]) -> str:
        event = e.BudgetSpendJudged(
            attempt=n, at=at, at_most=at_most, objectives=tuple(seen), reason=_why(seen, at_most)
        )
        return self.journal.record(f"{n}/spend/{at}", event).reason

    async def _all_counted(self, begun: e.BudgetSpendJudged) -> list[e.BudgetSpend]:
        """By the objectives of now: one that was declared meanwhile had no start, and one that went has no budget."""
        before = {one.objective: one for one in begun.objectives}
        now = self.journal.clock.now()
        return [await self._counted(slo, before[slo.name], now) for slo in self.slos if slo.name in before]

    async def _counted(self, slo: Slo, before: e.BudgetSpend, now: datetime) -> e.BudgetSpend:
        of = slo.selectors(self.manifest, EVERY_ARM)
        bad, total = 0, 0
        if now > before.since:
            counted = await self._since(slo, of, [before.since], now)
            if before.since not in counted:
                raise Retryable(f"error budget: {slo.name} has no counters that tell what was spent since it was begun")
            bad, total = counted[before.since].bad, counted[before.since].total
        known = before.model_copy(update={"until": now, "bad": bad, "total": total})
        return known.model_copy(update={"spent": share_spent(_events(known), before.period_total, slo.error_budget)})

    async def _as_before(self, slo: Slo, now: datetime) -> e.BudgetSpend:
        """The objective right before, over the long window of its fastest tier, or the short one where trouble has just
        begun: what a sickness spends anyway is not the delivery's."""
        of, tier = slo.selectors(self.manifest, EVERY_ARM), slo.tiers[0]
        starts = [now - timedelta(seconds=length_s) for length_s in (tier.short_s, tier.long_s)]
        windows = await self._since(slo, of, starts, now)
        told = [(start, windows[start]) for start in starts if start in windows]
        told = [(start, counts) for start, counts in told if counts.total >= slo.min_events]
        if not told:
            raise Retryable(
                f"error budget: {slo.name} has fewer than {slo.min_events} events in the {tier.long_s:g} s before this "
                "delivery, so what it adds cannot be told"
            )
        (start, seen), (_, long) = told[0], told[-1]
        if not has_just_begun(seen, long):
            start, seen = told[-1]
        try:
            period = await spent(self.metrics, self.manifest, slo, now)
        except Invalid as error:
            raise Retryable(f"error budget: {slo.name}: {error}") from error
        if period is None or period.total < slo.min_events:
            raise Retryable(f"error budget: there are no events of the period of {slo.name}, so it has no budget")
        query = f"{of.total} - {of.good}" if of.good is not None else " + ".join(of.bad)
        return e.BudgetSpend(
            objective=slo.name, query=f"({query}) / {of.total}", before_from=start, before_to=now,
            before_bad=seen.bad, before_total=seen.total, period_from=period.since, period_total=period.total,
            since=now, until=now, bad=0, total=0, earlier=0.0, spent=0.0,
        )  # fmt: skip

    async def _since(
        self, slo: Slo, of: Selectors, starts: Sequence[datetime], now: datetime
    ) -> Mapping[datetime, Counts]:
        """Bad of all events since each of these moments, of which something was known then and now."""
        try:
            counted = await read(self.metrics, {moment: named(of) for moment in (*starts, now)}, now)
        except Invalid as error:
            raise Retryable(f"error budget: {slo.name}: {error}") from error
        found = {}
        for start in starts:
            if reason := counted.partial(start):
                raise Retryable(f"error budget: {slo.name}: {reason}")
            events = counted.events(of, start)
            if events.bad is not None and events.total is not None and events.bad >= 0:
                found[start] = Counts(min(events.bad, events.total), events.total)
        return found


def call_if_overspent(journal: Journal) -> bool:
    """Call a person when earlier attempts spent what the ticket may of an error budget; whether one was called."""
    at_most, n = spend_at_most(journal.spec().limits()), journal.ticket.attempt.n
    seen = [spend for one in _all_told(journal) for spend in one.objectives]
    said = [why for one in seen if at_most is not None and (why := why_too_much(one.objective, one.spent, at_most))]
    if not said:
        return False
    question = (
        f"{said[-1]}. It is delivered again once it has another limit or none: `harness ticket constrain`. What now?"
    )
    journal.call_person(f"{n}/overspent", "limits", question, attempt=n)
    return True


def _all_told(journal: Journal) -> list[e.BudgetSpendJudged]:
    return [one for one in journal.ticket.recorded.values() if isinstance(one, e.BudgetSpendJudged)]


def _events(one: e.BudgetSpend) -> float:
    """Bad events beyond the share of before, of this and earlier attempts."""
    return one.earlier + beyond(one.bad, one.total, one.before_bad, one.before_total)


def _why(seen: list[e.BudgetSpend], at_most: float) -> str:
    """The first objective of whose budget too much is spent, in words; empty when of none."""
    return next((said for one in seen if (said := why_too_much(one.objective, one.spent, at_most))), "")
