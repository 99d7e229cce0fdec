"""COMMAND: what a person tells a live ticket. Takes back what is half done first, where the command asks for that.

Touches the ledger; nodes, routes and main only on the way back.
"""

from __future__ import annotations

from datetime import datetime

from harness import arms, lock, parts
from harness.cause import close_cause
from harness.core import events as e
from harness.core.command import TAKES_BACK, Command, event_of, refuse_unless_open
from harness.core.constraint import Constraint, check_fit, check_time
from harness.core.errors import Refused
from harness.core.lifecycle import ENDS, evolve
from harness.core.manifest import Manifest
from harness.core.policy import Splitting
from harness.gate import note_gate
from harness.journal import HARNESS, Journal
from harness.operation_units import undo
from harness.operator import Operator, gate_of
from harness.rollout import roll_back


async def obey(journal: Journal, operator: Operator, splitting: Splitting, command: Command) -> None:
    """Do it once per request. Raises Forbidden when the ticket's state does not allow it, Invalid for constraints that
    cannot be kept, Refused when the way back failed: then the ticket is as it was, or with a person, and the service
    stays locked."""
    key = f"command/{command.request}"
    if journal.recorded(key, e.Event):
        return
    if command.text is not None:  # put a while ago, by another process: its event must not come too late for it
        journal.put(journal.blobs.get_json(command.text))
    if command.verb == "split":
        await _split(journal, operator, splitting, command, key)
        return
    event = event_of(command, journal.ticket, journal.put({"text": ""}))
    if isinstance(event, e.ConstraintsChanged):
        _check(event, operator.manifest, journal.clock.now())
    if command.verb in TAKES_BACK:
        await _take_back(journal, operator, f"{command.verb} by {command.by}")
        event = event_of(command, journal.ticket, journal.put({"text": ""}))
    ends = evolve(journal.ticket.life, event).state in ENDS
    beside = close_cause(journal) if ends else []
    actor = HARNESS if command.by == HARNESS else f"human:{command.by}"
    journal.record(key, event, actor=actor, beside=beside)


async def _split(journal: Journal, operator: Operator, splitting: Splitting, command: Command, key: str) -> None:
    """Nothing is taken back for parts that cannot be filed."""
    assert command.children is not None, "who splits a ticket names its parts"
    refuse_unless_open(journal.state, command.verb)
    children = parts.Children.parse(journal.blobs.get_json(command.children), "split").children
    parts.require_fit(journal, children, policy=splitting, manifest=operator.manifest)
    await _take_back(journal, operator, f"split by {command.by}")
    parts.split(
        journal, children, policy=splitting, manifest=operator.manifest, key=key,
        actor=f"human:{command.by}", source="human",
    )  # fmt: skip


def _check(event: e.ConstraintsChanged, manifest: Manifest, now: datetime) -> None:
    """Raise Invalid for constraints with which the ticket would not have been filed."""
    limits = [Constraint.parse(text) for text in event.constraints]
    for one in limits:
        check_fit(one, manifest.peak_hours, manifest.name)
    check_time(limits, manifest.peak_hours, now)


async def _take_back(journal: Journal, operator: Operator, reason: str) -> None:
    """Have the service as it was before a delivery that began and did not end: it holds the lock."""
    ticket = journal.ticket
    if ticket.life.interrupted and (holder := lock.take_at_once(journal)) is not None:
        raise Refused(
            f"{ticket.id}: its change is served and unverified, and {holder} holds the lock of {ticket.filed.service}, "
            f"without which it cannot be taken back: say it again when {holder} has ended"
        )
    ticket = journal.ticket
    if ticket.life.token is None or not ticket.attempts:
        return
    attempt = ticket.attempt
    if attempt.operation is None and isinstance(attempt.checks, e.ChecksPassed) and attempt.canary is None:
        await arms.without_traffic(journal, operator)
        await arms.taken_down(journal, operator)
        await note_gate(journal, gate_of(journal, operator), "canary", key=f"{attempt.n}/canary/gate-after")
    back: e.RolledBack | e.RollbackFailed | None = attempt.rolled_back
    if back is None and isinstance(attempt.deploy, e.ReleaseDeployed):
        lock.keep(journal, reason, operator.repository.main())
        attempt = journal.ticket.attempt
    if back is None and attempt.main_moved is not None:
        back = await roll_back(journal, operator, operator.nodes.names(), reason)
    elif back is None and attempt.units:
        back = await undo(journal, operator, reason)
    if isinstance(back, e.RollbackFailed):
        raise Refused(
            f"{ticket.id}: the way back failed ({back.reason}); the ticket is {journal.state} and keeps the lock of "
            f"{ticket.filed.service}: mend that, then say it again"
        )
