"""Histories by chance, folded in whatever pieces: the documents are those of a rebuild, and what the streams say."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core import events as e
from harness.core.ids import ticket_stream
from harness.core.projections.projection import Projection
from harness.core.record import Kept, Recorded, StreamWrite
from harness.core.spending import spent
from harness.core.ticket import Ticket, fold
from harness.journal import decode
from harness.ledger.store import Ledger
from harness.projector import ALL, BUDGETS, TICKETS, TRAJECTORIES, documents, follow, rebuild
from harness.simulation.ledger import MemoryLedger
from harness.simulation.lives import BEGAN_AT, history

NAMES = [one.name for one in ALL]
histories = st.builds(
    lambda chance, events, at_once: list(history(chance, events=events, at_once=at_once)),
    st.randoms(use_true_random=False), st.integers(1, 120), st.integers(1, 4),
)  # fmt: skip
followed = st.lists(st.sampled_from(ALL), min_size=1, unique_by=lambda one: one.name)


def now() -> datetime:
    return BEGAN_AT


def stored(ledger: Ledger | MemoryLedger) -> dict[str, Kept]:
    return ledger.projected(NAMES)


@settings(max_examples=40)
@given(told=histories, pieces=st.lists(st.tuples(st.integers(1, 40), followed), max_size=8))
def test_what_was_folded_in_pieces_is_byte_for_byte_what_a_rebuild_folds(
    told: list[StreamWrite], pieces: list[tuple[int, list[Projection]]]
) -> None:
    ledger, left = MemoryLedger(now=now), list(told)
    for size, projections in pieces:
        for write in left[:size]:
            ledger.append([write])
        left = left[size:]
        follow(ledger, projections)
    for write in left:
        ledger.append([write])
    follow(ledger)

    incremental = stored(ledger)
    rebuild(ledger)

    assert stored(ledger) == incremental
    assert {one.progress.position for one in incremental.values()} == {len(told)}


@settings(max_examples=10)
@given(told=histories, after=st.integers(0, 60))
def test_the_database_keeps_the_same_documents_as_memory(told: list[StreamWrite], after: int) -> None:
    oracle = MemoryLedger(now=now)
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.open(Path(folder, "l.db"), now=now)
        for number, write in enumerate(told):
            ledger.append([write])
            oracle.append([write])
            if number == after:
                follow(ledger)
        follow(ledger)
        follow(oracle)
        assert stored(ledger) == stored(oracle)
        ledger.close()


@settings(max_examples=60)
@given(told=histories)
def test_lists_say_of_every_ticket_what_its_stream_says(told: list[StreamWrite]) -> None:
    ledger = MemoryLedger(now=now)
    for write in told:
        ledger.append([write])

    tickets, budgets, trajectories = documents(ledger, TICKETS, BUDGETS, TRAJECTORIES)

    streams = ledger.streams(ticket_stream(""))
    assert set(tickets) == set(trajectories) == {stream.removeprefix("ticket-") for stream in streams}
    for stream in streams:
        rows = ledger.read_stream(stream)
        ticket = fold((row.id, row.occurred_at, decode(row)) for row in rows)
        assert ticket is not None
        of_ticket = tickets[ticket.id]
        assert of_ticket["life"] == {
            "state": ticket.state, "held": list(ticket.life.held), "attempt": ticket.life.attempt,
            "token": ticket.life.token, "admitted": ticket.life.admitted, "interrupted": ticket.life.interrupted,
        }  # fmt: skip
        assert of_ticket["opened_at"] == ticket.filed_at.isoformat()
        assert of_ticket["closed_at"] == (ticket.closed_at.isoformat() if ticket.closed_at else None)
        assert trajectories[ticket.id] == in_short(ticket, rows)
        spent_by = [spent([event]) for row in rows if isinstance(event := decode(row), e.ActionTaken)]
        for field in ("replies", "usd", "tokens_in", "tokens_out"):
            took = [model[field] for model in budgets[ticket.id]["models"].values()]
            of_stream = [getattr(one, field) for one in spent_by]
            assert (None in took) == (None in of_stream)
            assert None in took or sum(took) == sum(of_stream)


def in_short(ticket: Ticket, rows: list[Recorded]) -> dict[str, Any]:
    """What the list of trajectories knows of a ticket, from the ticket."""
    verification = next((a.verification for a in reversed(ticket.attempts) if a.verification), None)
    return {
        "fingerprint": ticket.filed.fingerprint, "recurrence_of": ticket.filed.recurrence_of,
        "filed_at": ticket.filed_at.isoformat(), "attempts": len(ticket.attempts),
        "steps": sum(row.type == e.ActionTaken.__name__ for row in rows),
        "seen_unmet": verification is not None and any(one.met is False for one in verification.criteria),
        "first_position": rows[0].position, "last_position": rows[-1].position,
    }  # fmt: skip
