"""`harness notice …`: who is told what happens to tickets, and whether the address answers. Adds no event."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from harness.adapters.clock import SystemClock
from harness.bootstrap import Record, build_webhooks, read_record, read_rules
from harness.cli.render import AsJson, print_json, say
from harness.core import events as e
from harness.core.errors import Invalid
from harness.core.ids import follower, notices_stream
from harness.core.notice import TYPES, Receiver, meaning
from harness.ledger.paging import rows
from harness.settings import Settings

if TYPE_CHECKING:  # its client takes a tenth of a second to import, and no other command needs it
    from harness.adapters.webhook import Webhook

app = typer.Typer(no_args_is_help=True, help="Notices by webhook: policies/notifications.yaml says to whom, of what.")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the receivers: of what each is told, how much it was told so far, and what still waits."""
    record = read_record(Settings.load())
    listed = [_row(record, one) for one in read_rules().notifications.receivers]
    if as_json:
        print_json(listed)
        return
    for row in listed:
        where = "" if row["address"] else f"; {row['url_from']} is not set here"
        since = f"since {row['since']}" if row["since"] else "not seen by a worker yet"
        told = f"{row['sent']} sent, {row['given_up']} given up, {row['waiting']} waiting"
        say(f"{row['receiver']:<12} {told}; {since}{where}")


@app.command()
def probe(
    receiver: Annotated[str | None, typer.Argument(help="One receiver; all that have an address, else.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send a notice of type `harness.probe` once.

    Exit 1 when a receiver does not take it, 4 when one does not answer.
    """
    chosen = _chosen(read_rules().notifications.receivers, receiver)
    now = SystemClock().now()
    body = {
        "type": "harness.probe",
        "timestamp": now.isoformat(),
        "text": "harness: a probe, nothing happened",
        "data": {},
    }
    answers = {name: asyncio.run(webhook.post(str(uuid4()), body, now)) for name, webhook in chosen.items()}
    if as_json:
        print_json([
            {"receiver": name, "taken": meaning(answer.status) == "taken", "status": answer.status,
             "trouble": answer.trouble}
            for name, answer in answers.items()
        ])  # fmt: skip
    else:
        for name, answer in answers.items():
            say(f"{name:<12} {answer.status or answer.trouble}")
    if any(meaning(answer.status) != "taken" for answer in answers.values()):
        raise typer.Exit(4 if any(answer.status is None for answer in answers.values()) else 1)


def _chosen(receivers: Sequence[Receiver], name: str | None) -> dict[str, Webhook]:
    """The webhook of each that is meant. Raises Invalid where there is none."""
    where = "policies/notifications.yaml"
    meant = [one for one in receivers if name in (None, one.name)]
    if not meant:
        names = ", ".join(one.name for one in receivers)
        raise Invalid(
            f"receiver {name!r}: is not in {where}; there: {names}" if names else f"{where}: names no receiver"
        )
    found = {one.name: webhook for one, webhook in build_webhooks(meant)}
    if not found:
        raise Invalid(f"{' and '.join(one.url_from for one in meant)}: not set here; set the address of a webhook")
    return found


def _row(record: Record, receiver: Receiver) -> dict[str, Any]:
    told, head = record.ledger.read_stream(notices_stream(receiver.name)), record.ledger.head().position
    counts = Counter(row.type for row in told)
    up_to = max((row.data.get("position", row.position) for row in told), default=head)
    up_to = max(up_to, record.ledger.checkpoint(follower(receiver.name)))
    return {
        "receiver": receiver.name,
        "tell": receiver.tell,
        "url_from": receiver.url_from,
        "address": bool(os.environ.get(receiver.url_from)),
        "since": told[0].occurred_at.isoformat() if told else None,
        "sent": counts[e.NoticeSent.__name__],
        "given_up": counts[e.NoticeGivenUp.__name__],
        "waiting": sum(TYPES.get(row.type) in receiver.tell for row in rows(record.ledger, after_position=up_to)),
    }
