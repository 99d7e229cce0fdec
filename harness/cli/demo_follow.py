"""Follows the tickets of a demo to their ends, on a terminal or line by line. Reads the ledger; writes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

from harness.cli.demo_scene import Scene, journal_of
from harness.cli.story import line
from harness.core import events as e
from harness.core.errors import Retryable
from harness.core.ids import ticket_stream
from harness.core.lifecycle import ENDS, State
from harness.core.record import Recorded
from harness.journal import decode


async def follow(scene: Scene, position: int, began_at: datetime, expected: int) -> list[str]:
    """Show what happens from here on until as many tickets as are expected were filed, and all have ended; their ids.

    Of one that is expected only the first counts: what comes after it is another story.
    """
    if not scene.draws:
        return await _until_over(scene, position, expected, lambda row, event: _tell(scene, event))
    from harness.cli.live import Watching, drawn  # half a second of imports that only a terminal needs

    watching = Watching.from_here(scene.record, position, began_at)

    def see(row: Recorded, event: e.Event) -> None:
        watching.see(row)
        if watching.view.over and (under_way := [one for one in _filed(scene, position) if not _is_over(scene, one)]):
            watching.turn_to(under_way[0], began_at)

    with drawn(watching):
        return await _until_over(scene, position, expected, see)


def _tell(scene: Scene, event: e.Event) -> None:
    if text := line(event, scene.record.blobs):
        scene.say(text)


async def _until_over(
    scene: Scene, position: int, expected: int, show: Callable[[Recorded, e.Event], None]
) -> list[str]:
    ledger = scene.record.ledger
    tickets: list[str] = []
    limit_s = scene.incident_limit_s(expected)
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        for row in ledger.read_all(after_position=position):
            position = row.position
            event = decode(row)
            if isinstance(event, e.TicketFiled) and (expected > 1 or not tickets):
                tickets.append(event.ticket_id)
            show(row, event)
        if len(tickets) >= expected and all(_is_over(scene, one) for one in tickets):
            return tickets
        await asyncio.to_thread(ledger.wait_past, position, timeout_s=1.0)
    seen = f"ticket{'s' if len(tickets) > 1 else ''} {', '.join(tickets)}" if tickets else "no ticket"
    raise Retryable(
        f"{seen} after {limit_s:g} s, expected {expected} at an end; "
        f"`harness ticket list` and {scene.settings.home.log('worker')} tell more"
    )


def _filed(scene: Scene, position: int) -> list[str]:
    """The tickets that were filed since then."""
    rows = (scene.record.ledger.read_stream(one)[0] for one in scene.record.ledger.streams(ticket_stream("")))
    firsts = [decode(row) for row in sorted(rows, key=lambda row: row.position) if row.position > position]
    return [event.ticket_id for event in firsts if isinstance(event, e.TicketFiled)]


def _is_over(scene: Scene, ticket_id: str) -> bool:
    state = journal_of(scene, ticket_id).state
    return state in ENDS or state is State.ESCALATED
