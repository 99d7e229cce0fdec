"""Signals by chance, that begin and end, among tickets that end or fail: one living ticket a cause, nothing lost."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.bootstrap import read_rules
from harness.cause import close_cause, standing
from harness.core import events as e
from harness.core.ids import signal_stream, ticket_stream
from harness.core.lifecycle import LIVE, State
from harness.core.signal import Signal
from harness.journal import Journal, decode
from harness.simulation.ledger import MemoryBlobs, MemoryLedger
from harness.simulation.lives import BEGAN_AT
from harness.stages import observe
from harness.stages.file import file

RULES = read_rules()
BLOB = "sha256:" + "0" * 64
THINGS = (("slo", "latency"), ("slo", "availability"), ("invariant", "capacity_headroom"))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("turn"), st.sampled_from(THINGS)),
        st.tuples(st.sampled_from(["resolve", "cancel", "fail"]), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.sampled_from([1, 7, 60, 4000])),
    ),
    min_size=1, max_size=40,
)  # fmt: skip


class World:
    """The watch's rule and FILE on a ledger, and tickets that live as chance says."""

    def __init__(self) -> None:
        self.at = BEGAN_AT
        self.ledger, self.blobs = MemoryLedger(now=self.now), MemoryBlobs()
        self.firing: set[tuple[str, str]] = set()
        self.ended_by_people: set[str] = set()
        self.watch = cast(Any, SimpleNamespace(ledger=self.ledger, clock=self))

    def now(self) -> datetime:
        return self.at

    def look(self) -> None:
        """One tick of the watch, and what it files."""
        self.at += timedelta(seconds=1)
        for kind, name in THINGS:
            signal = self.signal(kind, name)
            for started in observe._started(self.watch, signal, (kind, name) in self.firing):
                file(
                    started, slos=RULES.slos, invariants=RULES.invariants, sustained_s=10,
                    policy=RULES.profile.causes, ledger=self.ledger, blobs=self.blobs, clock=cast(Any, self),
                )  # fmt: skip

    def signal(self, kind: Any, name: str) -> Signal:
        return Signal(
            kind=kind, name=name, service="ratelimiter", sampled_at=self.at, began_at=self.at,
            evidence={"reason": f"at {self.at}"},
        )  # fmt: skip

    def tickets(self) -> list[Journal]:
        names = [stream.removeprefix("ticket-") for stream in self.ledger.streams(ticket_stream(""))]
        return [Journal(one, ledger=self.ledger, blobs=self.blobs, clock=cast(Any, self)) for one in names]

    def living(self) -> list[Journal]:
        return [journal for journal in self.tickets() if journal.state in LIVE]

    def happen(self, what: str, journal: Journal) -> None:
        """To a ticket: a person ends it, it is resolved, or an attempt at it fails."""
        self.at += timedelta(seconds=1)
        if what == "cancel":
            self.ended_by_people.add(str(journal.ticket.filed.fingerprint))
            journal.record("cancelled", e.TicketCancelled(by="ada", why=BLOB), beside=close_cause(journal))
            return
        if journal.state is State.FILED:
            journal.record("admit", e.TicketAdmitted(policy="p", criteria=(), sick=(), attempts_allowed=3))
        n = journal.ticket.life.attempt + 1
        journal.record(f"{n}/begin", e.AttemptStarted(attempt=n, agent="runbook", runbook=None, base="b"))
        if what == "resolve":
            journal.record(f"{n}/nothing", e.NothingToChange(attempt=n, why=BLOB))
            met = e.CriteriaMet(attempt=n, criteria=(), shown=(), samples=0, waits=(), window_s=1.0)
            journal.record(f"{n}/met", met, beside=close_cause(journal))
            return
        journal.record(
            f"{n}/change",
            e.ChangeProposed(attempt=n, kind="code", commit="c", base="b", branch="x", diff=BLOB, summary=BLOB),
        )
        journal.record(f"{n}/test", e.ChecksFailed(attempt=n, commit="c", tree=None, outcomes=(), reason="r", waits=()))


@settings(max_examples=120, deadline=None)
@given(steps)
def test_whatever_begins_and_ends_every_cause_that_fires_has_one_living_ticket_and_every_firing_is_on_one(
    history: list[tuple[str, Any]],
) -> None:
    world = World()
    for what, which in history:
        if what == "turn":
            world.firing ^= {which}
        elif what == "wait":
            world.at += timedelta(seconds=which)
        elif living := world.living():
            world.happen(what, living[which % len(living)])
        world.look()
        # then every cause that fires has a living ticket, unless a person ended its own and it just goes on
        lives = {journal.ticket_id: journal for journal in world.living()}
        for kind, name in THINGS:
            now = standing(world.ledger, world.signal(kind, name).fingerprint)
            assert now.living is None or now.living in lives
            if (kind, name) in world.firing and now.living is None:
                assert world.signal(kind, name).fingerprint in world.ended_by_people
            if (kind, name) not in world.firing:
                world.ended_by_people.discard(world.signal(kind, name).fingerprint)
        # and no cause has two
        causes = [journal.ticket.filed.fingerprint for journal in lives.values()]
        assert len(causes) == len(set(causes))
    # and every firing ever is on a ticket that asks for it, and was alive then
    for kind, name in THINGS:
        for row in world.ledger.read_stream(signal_stream(world.signal(kind, name).fingerprint)):
            if isinstance(decode(row), e.SignalStarted):
                (journal,) = [one for one in world.tickets() if one.ticket_id == row.correlation_id]
                assert journal.ticket.filed_at <= row.occurred_at
                assert journal.ticket.closed_at is None or row.occurred_at <= journal.ticket.closed_at
    assert world.ledger.verify().ok
