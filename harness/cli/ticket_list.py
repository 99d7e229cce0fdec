"""`harness ticket list`, `queue`: all tickets, and who delivers, from projections of the ledger. Changes no ticket."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from harness.bootstrap import Record, read_record, read_rules
from harness.cli.render import AsJson, minute, print_json, safe, say, short_hashes
from harness.cli.ticket import title
from harness.core.errors import Broken
from harness.core.events import DeliveryWaits
from harness.core.projections.projection import Document
from harness.core.projections.queue import QUEUE, Backlog, backlog, waits
from harness.core.projections.tickets import TICKETS, state_of, waits_of
from harness.core.turn import turn
from harness.projector import documents
from harness.settings import Settings


def list_(as_json: AsJson = False) -> None:
    """List all tickets, newest first."""
    rows = listed(read_record(Settings.load()))
    if as_json:
        print_json(rows)
        return
    width = max((len(row["state"]) for row in rows), default=0)
    for row in rows:
        until = f"until {minute(row['waits_until'])}:" if row["waits_until"] else "for"
        notes = [f"part of {row['parent']}"] if row["parent"] else []
        notes += [f"again after {row['recurrence_of']}"] if row["recurrence_of"] else []
        notes += [f"{until} {row['waits_for']}"] if row["waits_for"] else []
        told = "".join(f" ({note})" for note in notes)
        wanted = f"{row['service']:<12} {short_hashes(row['title'])}"
        say(f"{row['id']:<8} {row['state']:<{width}} {row['priority']} {wanted}{told}")
    if not rows:
        print("no tickets")


def queue(as_json: AsJson = False) -> None:
    """Show which ticket delivers, and which wait for that, in the order of their turn."""
    record = read_record(Settings.load())
    rows = queued(record, read_rules().profile.queue.aging_s)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        word = "delivers" if row["delivers"] else "waits"
        say(f"{row['ticket']:<8} {row['service']:<12} {word:<8} attempt {row['attempt']}, since {minute(row['since'])}")
    if not rows:
        print("nothing is delivered, and nothing waits for it")


def listed(record: Record) -> list[dict[str, Any]]:
    """The contract's rows of all tickets, newest first."""
    (tickets,) = documents(record.ledger, TICKETS)
    rows = [_row(record, ticket_id, ticket) for ticket_id, ticket in tickets.items()]
    return sorted(rows, key=lambda row: str(row["opened_at"]), reverse=True)


def queued(record: Record, aging_s: float) -> list[dict[str, Any]]:
    """By service: the delivery that has its lock, then those that wait for it. One that is with a person does not."""
    deliveries, tickets = _deliveries(record)
    now = record.clock.now()
    rows = [
        {"ticket": ticket_id, "service": one["service"], "attempt": one["attempt"], "delivers": one["delivers"],
         "since": one["since"]}
        for ticket_id, one in sorted(deliveries.items(), key=lambda delivery: _place(delivery, now, aging_s))
        if one["delivers"] or waits(one, tickets.get(ticket_id))
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (row["service"], not row["delivers"]))


def backlog_now(record: Record) -> dict[str, Backlog]:
    """How many deliveries wait, and how long the first of them has, by priority."""
    return backlog(*_deliveries(record), record.clock.now())


def _deliveries(record: Record) -> tuple[dict[str, Document], dict[str, Document]]:
    """Those that wait or deliver, and their tickets."""
    (deliveries,) = documents(record.ledger, QUEUE)
    (tickets,) = documents(record.ledger, TICKETS, keys=deliveries)
    return deliveries, tickets


def _row(record: Record, ticket_id: str, ticket: Document) -> dict[str, Any]:
    try:
        wanted = title(record, ticket["spec"])
    except Broken as error:  # one text that is lost must not hide all other tickets
        wanted = safe(f"unreadable: {error}")
    waits_for, waits_until = waits_of(ticket) or (None, None)
    return {
        "id": ticket_id, "state": state_of(ticket), "type": ticket["type"], "service": ticket["service"],
        "priority": ticket["priority"], "title": wanted, "fingerprint": ticket["fingerprint"],
        "opened_at": ticket["opened_at"], "closed_at": ticket["closed_at"], "waits_for": waits_for,
        "waits_until": waits_until, "recurrence_of": ticket["recurrence_of"], "parent": ticket["parent"],
        "children": ticket["children"],
    }  # fmt: skip


def _place(delivery: tuple[str, Document], now: datetime, aging_s: float) -> tuple[int | float | str, ...]:
    ticket_id, one = delivery
    if one["delivers"]:
        return ()
    wait = DeliveryWaits(
        ticket_id=ticket_id, attempt=one["attempt"], priority=one["priority"], filed_at=one["filed_at"],
        since=one["waits_since"], budget_left=one["budget_left"],
    )  # fmt: skip
    return turn(wait, now, aging_s)
