"""Nothing is wrong, and a check takes longer than it used to: told by what deliveries recorded, shown side by side in
the sandbox, filed for a person to approve. On a modelled world in virtual time."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest

from harness.core import events as e
from harness.core.errors import Forbidden, Refused
from harness.core.ids import opportunities_stream
from harness.core.lifecycle import State
from harness.core.policy import Opportunities
from harness.core.record import NewEvent, StreamWrite
from harness.ports import CheckRun
from harness.simulation.clock import run
from harness.simulation.service import Behaviour, Change
from harness.stages.offer import Stage, look, offer, slower
from tests.simulation.operations import RULES, Operations, incident
from tests.simulation.test_by_hand import a_commit
from tests.simulation.test_opportunities import setting
from tests.simulation.test_opportunities import stage as of_tunables
from tests.simulation.test_outlooks import ENDED, offered

POLICY = {
    "per_week": 2, "priority": "P3", "again_after": "30d", "session": "10m", "slower": {"runs": 12, "by": "25%"},
}  # fmt: skip
DELIVERIES = 12
LONGER = Change("an-hour-of-sleep", Behaviour(check_s=2.0))


async def delivered(changes: list[Change], *, others_from: int = DELIVERIES) -> Operations:
    """A service to which these changes were delivered, while from one of them on others used the machine and it took
    twice as long for everything. The first went through all stages; of the others the ledger has what it wrote."""
    rules = replace(RULES, opportunities=Opportunities.parse(POLICY, "opportunities.yaml"))
    operations = await incident([setting(1000)], rules=rules)
    first, *others = changes
    operations.file(change=a_commit(operations, first))
    await operations.watch(lambda: operations.reached(*ENDED))
    assert operations.state("INF-1") is State.RESOLVED
    for number, change in enumerate(others, 1):
        operations.world.release([change])
        await operations.world.clock.sleep(1)
        operations.world.checks.slowed = (2.0 if number >= others_from else 1.0) + number / 1000
        commit = operations.world.repository.main()
        again(operations, f"INF-{number + 1}", commit, await operations.world.checks.check("tests", commit, commit))
    return operations


def again(operations: Operations, ticket_id: str, commit: str, ran: CheckRun) -> None:
    """The stream of a ticket that went as the first one did, with another commit and this run of its check."""
    rows = operations.ledger.read_stream("ticket-INF-1")
    passed = next(row.data for row in rows if row.type == e.ChecksPassed.__name__)
    tree = operations.world.repository.tree(commit)

    def of_it(data: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(data).replace(passed["commit"], commit).replace(passed["tree"], tree)
        read: dict[str, Any] = json.loads(text.replace('"INF-1"', f'"{ticket_id}"'))
        for outcome in read.get("outcomes", ()):
            outcome["seconds"] = (ran.wait.closed_at - ran.wait.opened_at).total_seconds()
        return read

    new = [
        NewEvent(
            id=str(uuid5(NAMESPACE_URL, f"{ticket_id}/{row.id}")), type=row.type, data=of_it(row.data), actor=row.actor,
            occurred_at=ran.wait.closed_at, schema_version=row.schema_version, correlation_id=ticket_id,
        )
        for row in rows
    ]  # fmt: skip
    operations.ledger.append([StreamWrite(f"ticket-{ticket_id}", 0, new)])


def work(slow: int | None = None) -> list[Change]:
    return [LONGER if number == slow else Change(f"day-{number}") for number in range(DELIVERIES)]


def stage_of(operations: Operations) -> Stage:
    return replace(
        of_tunables(operations), policy=operations.harness.rules.opportunities, manifest=operations.harness.manifest()
    )


def test_a_check_that_became_slower_is_filed_with_where_it_began_and_its_repair_needs_a_person() -> None:
    async def story() -> None:
        # given twelve deliveries, the seventh of which made the tests twice as long
        operations = await delivered(work(slow=6))
        desk = stage_of(operations)
        (seen,) = slower(desk)
        assert (seen.outlook.name, seen.state) == ("slower:tests", "open")
        assert "2.01s in the middle of 6 runs" in seen.outlook.reason and "(INF-6) and" in seen.outlook.reason
        cause = operations.ticket("INF-7").attempt.checks.commit  # type: ignore[union-attr]
        assert f"{cause[:12]} (INF-7, " in seen.outlook.reason
        # when it is offered, before the tunable that nobody tried
        assert await offered(operations, desk) == "INF-13"
        # then it is an improvement of the lowest priority, after the check's own time, with everything that is declared
        ticket = operations.ticket("INF-13")
        assert (ticket.filed.type, ticket.filed.priority, ticket.filed.source) == ("improvement", "P3", "opportunity")
        (noted,) = operations.events(opportunities_stream("ratelimiter"))
        assert isinstance(noted, e.OpportunityOffered) and (noted.sort, noted.name) == ("slower", "slower:tests")
        assert noted.measured.value == pytest.approx(4.0, rel=0.02) and noted.measured.query.startswith(
            "seconds of the"
        )
        await operations.watch(lambda: operations.reached(*ENDED, ticket_id="INF-13"))
        admitted = operations.ticket("INF-13").admitted
        assert admitted is not None and admitted.criteria[0].baseline is not None
        goal, *others = admitted.criteria
        assert (goal.metric, goal.condition) == ("check_seconds(tests)", "at least 25% better")
        assert {one.metric for one in others} == {"slow_share", "error_share", "wrong_denial_share", "available"}
        assert operations.journal("INF-13").spec().constraints == ("requires approval",)
        assert "slower:tests" in operations.question("INF-13")
        # and while its ticket lives it is not told again
        assert [one.state for one in slower(desk)] == ["under_way"]
        # when a person's commit takes the cause away, it needs a word, and VERIFY finds it faster side by side
        repository = operations.world.repository
        repair = repository.revert(cause, repository.main(), "repair", "repair", "Sleep no more")
        await operations.tell("take_over", "INF-13", commit=repair)
        await operations.watch(lambda: operations.reached(State.AWAITING_APPROVAL, ticket_id="INF-13"))
        await operations.tell("approve", "INF-13", hash=operations.last("INF-13", e.ApprovalRequested).hash)
        await operations.watch(lambda: operations.reached(State.RESOLVED, ticket_id="INF-13"))
        met = operations.last("INF-13", e.CriteriaMet).criteria[0]
        assert met.measured.value == pytest.approx(2.0, rel=0.02) and met.beside.value == pytest.approx(4.0, rel=0.02)

    run(story())


def test_a_machine_that_became_slower_is_no_slower_check() -> None:
    async def story() -> None:
        # given deliveries of which all since the seventh took twice as long, by no change of theirs
        operations = await delivered(work(), others_from=6)
        desk = stage_of(operations)
        assert [one.state for one in slower(desk)] == ["open"]
        # then side by side it shows, and a tunable is offered in its place
        with pytest.raises(Refused, match=r"slower:tests is not filed: in 6 pairs .* the machine did"):
            await offer(desk, "slower:tests")
        found = await offer(desk)
        assert found is not None and found.sort == "tunable" and look(desk)[1] == 2
        # and while an incident is worked on nothing is run for it at all
        operations.world.checks.slowed = 1.0
        operations.world.release([Change("bad", Behaviour(wait_ms=85.0, wait_share=0.5))])
        await operations.watch(lambda: operations.reached(State.WORKING, ticket_id="INF-13"))
        before = operations.world.clock.now()
        with pytest.raises(Forbidden, match="INF-13 is an incident and working"):
            await offer(desk, "slower:tests")
        assert operations.world.clock.now() == before

    run(story())


def test_where_nothing_changes_no_check_is_slower() -> None:
    async def story() -> None:
        operations = await delivered(work())
        assert slower(stage_of(operations)) == [] and await offer(stage_of(operations), "slower:tests") is None
        # nor does anybody look where policy leaves it out
        desk = stage_of(operations)
        assert slower(replace(desk, policy=desk.policy.model_copy(update={"slower": None}))) == []

    run(story())
