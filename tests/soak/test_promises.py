"""A change that does not keep what users were promised is stopped by its canary, one that does never is.

Plays the users' own schedule, auditor and judge in virtual time against arms with a limiter each; touches no process.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

import pytest
import yaml

from harness.core.canary import Counts, DeliveryPlan, Guard, Limit, Pair, judge_delivery
from harness.core.canary_plan import PROMISE_WEIGHT
from traffic.auditor import Auditor
from traffic.contract import GcraLimit, read_contract
from traffic.oracle import Follower, Verdict
from traffic.schedule import asks

Report = Callable[[str, object], None]
ROOT = Path(__file__).parents[2]
SIZES = yaml.safe_load((ROOT / "policies/profiles/demo.yaml").read_text())["canary"]
PROMISED = read_contract(ROOT / "services/traffic/contract.yaml").limit
KEYS, RATE_PER_S, S = 4_000, 400, 10**9
ANSWERS_IN_NS = 10**6
FIRST, PLANNED = SIZES["first_look_per_arm"], SIZES["planned_per_arm"]
BEFORE_S, SCRAPE_S = 20.0, 1.0
PROMISE = "over_admission_share"
DELIVERIES = 200
ADMITS_ALL = GcraLimit(name="all", count=10**6, period_ns=S, burst=10**6)
THREE_TIMES = GcraLimit(name="three", count=3 * PROMISED.count, period_ns=PROMISED.period_ns, burst=3 * PROMISED.burst)


@dataclass
class Limiter:
    """GCRA, knowing nothing of any key at first."""

    limit: GcraLimit
    tats: dict[int, int] = field(default_factory=dict)

    def admits(self, key: int, now_ns: int) -> bool:
        interval_ns = self.limit.interval_ceil_ns
        tat_ns = max(self.tats.get(key, 0), now_ns)
        if tat_ns - now_ns > (self.limit.burst - 1) * interval_ns:
            return False
        self.tats[key] = tat_ns + interval_ns
        return True


def plan() -> DeliveryPlan:
    """That of a ticket whose own metric is slow requests, without the test of that: the guards and limits beside it."""
    effects = SIZES["design_effect"]
    return DeliveryPlan(
        guards=(
            Guard("error_share"), Guard("wrong_denial_share"),
            Guard(PROMISE, design_effect=effects[PROMISE], weight=PROMISE_WEIGHT),
        ),
        limits=(Limit("error_share", 0.01), Limit("wrong_denial_share", 0.01)),
        planned_per_arm=SIZES["planned_per_arm"], min_per_arm=SIZES["first_look_per_arm"],
        planned_looks=SIZES["looks"], extra_looks=1, alpha=SIZES["alpha"],
    )  # fmt: skip


class Users:
    """The users' requests, one after the other, from ``BEFORE_S`` before the first step on; counted by arm."""

    def __init__(self, limits: dict[str, GcraLimit], seed: int) -> None:
        chance = random.Random(seed)
        self._limiters = {arm: Limiter(limit) for arm, limit in limits.items()}
        self._place = [chance.random() for _ in range(KEYS)]
        self._arm_of_key: list[str | None] = [None] * KEYS
        self._keys_of_arm: Counter[str] = Counter()
        self._follower = Follower(PROMISED, keys=KEYS)
        self._auditor = Auditor(self._arm_of_key, burst=PROMISED.burst, shuffle=chance)
        self._asks = asks(KEYS, shuffle=chance)
        self._request = 0
        self.counts: dict[str, Counter[str]] = {arm: Counter() for arm in limits}

    @property
    def at_s(self) -> float:
        return self._request / RATE_PER_S - BEFORE_S

    def ask(self) -> None:
        key, now_ns = next(self._asks), self._request * S // RATE_PER_S
        if key is None:
            key = self._auditor.next([arm for arm, keys in self._keys_of_arm.items() if keys])
        self._request += 1
        if key is None:
            return
        arm = self._arm(key)
        self._follower.sent(key, now_ns=now_ns)
        admitted = self._limiters[arm].admits(key, now_ns)
        heard_ns = now_ns + ANSWERS_IN_NS
        said = self._follower.answered(key, sent_ns=now_ns, now_ns=heard_ns, admitted=admitted, source=arm)
        if (before := self._arm_of_key[key]) is not None:
            self._keys_of_arm[before] -= 1
        self._keys_of_arm[arm] += 1
        self._arm_of_key[key] = arm
        self.counts[arm]["total"] += 1
        self.counts[arm][PROMISE] += said is Verdict.OVER_ADMISSION
        self.counts[arm]["wrong_denial_share"] += said is Verdict.WRONG_DENIAL

    def _arm(self, key: int) -> str:
        first, second = SIZES["steps"]
        share = 0.0 if self.at_s < 0 else first["share"] if self.at_s < first["hold_s"] else second["share"]
        place = self._place[key]
        return "canary" if place < share else "baseline" if place >= 1 - share else "stable"


def looks(limits: dict[str, GcraLimit], seed: int) -> Iterator[dict[str, Pair | None]]:
    """What is counted, once a second, until the last step was held for its time."""
    users, taken = Users(limits, seed), 0
    first, second = SIZES["steps"]
    scrape_s = random.Random(seed).random()
    while users.at_s < first["hold_s"] + second["hold_s"] + SIZES["extension_s"]:
        while users.at_s < scrape_s:
            users.ask()
        over_s = scrape_s - first["hold_s"] - second["hold_s"]
        smaller = min(users.counts[arm]["total"] for arm in ("canary", "baseline"))
        due = FIRST + ceil((PLANNED - FIRST) * taken / (SIZES["looks"] - 1)) if taken < SIZES["looks"] else PLANNED
        if smaller >= min(due, PLANNED) and (smaller < PLANNED or over_s >= 0):
            taken += 1
            yield {
                metric: Pair(
                    control=Counts(users.counts["baseline"][metric], users.counts["baseline"]["total"]),
                    experiment=Counts(users.counts["canary"][metric], users.counts["canary"]["total"]),
                )
                for metric in ("error_share", "wrong_denial_share", PROMISE)
            }  # fmt: skip
        if over_s >= 0 and smaller >= PLANNED:
            return
        scrape_s += SCRAPE_S


def stopped(canary: GcraLimit, baseline: GcraLimit, deliveries: int, record: Report) -> list[str]:
    """Why the judge stopped those deliveries that it stopped."""
    limits = {"stable": baseline, "baseline": baseline, "canary": canary}
    agreed, seen = plan(), []
    verdicts = []
    for seed in range(deliveries):
        taken = list(looks(limits, seed))
        verdicts.append(judge_delivery(agreed, taken))
        pair = taken[-1][PROMISE]
        assert pair is not None
        seen.append(pair.experiment.bad)
    reasons = [verdict.reason for verdict in verdicts if verdict.decision == "abort"]
    record("deliveries", deliveries)
    record("stopped", len(reasons))
    record("over_admissions_of_the_canary", {"least": min(seen), "median": sorted(seen)[len(seen) // 2]})
    return reasons


@pytest.mark.parametrize("canary", [ADMITS_ALL, THREE_TIMES], ids=lambda limit: limit.name)
def test_a_change_that_admits_too_much_is_stopped_every_time(canary: GcraLimit, record_property: Report) -> None:
    reasons = stopped(canary, PROMISED, DELIVERIES, record_property)
    assert len(reasons) == DELIVERIES
    assert all(PROMISE in reason for reason in reasons)


def test_a_change_that_keeps_the_promise_is_never_stopped_for_it(record_property: Report) -> None:
    assert stopped(PROMISED, PROMISED, DELIVERIES, record_property) == []


def test_a_change_that_is_no_worse_than_a_broken_promise_is_stopped_in_at_most_alpha(record_property: Report) -> None:
    assert len(stopped(ADMITS_ALL, ADMITS_ALL, DELIVERIES, record_property)) <= SIZES["alpha"] * DELIVERIES
