"""The alerts of others on a ticket: what was told of each, and whether it fires. Reads the ledger; decides nothing."""

from __future__ import annotations

from typing import Any, Final

from harness.bootstrap import Record
from harness.cli.shown import Shown
from harness.core import events as e
from harness.core.ids import alerts_stream
from harness.journal import decode

MANY: Final = 100
"""Alerts that a document shows; a storm has thousands."""


def alerts_on(record: Record, cause: str, ticket_id: str) -> list[dict[str, Any]]:
    """The first alerts that the ticket was told of, by their sender's fingerprint: labels, and what became of each."""
    shown, found = Shown(record.blobs), dict[str, dict[str, Any]]()
    for row in record.ledger.read_stream(alerts_stream(cause)):
        event = decode(row)
        assert isinstance(event, e.AlertsTold)
        if event.ticket_id != ticket_id:
            continue
        for alert in shown.get_json(event.evidence).get("alerts", []):
            if alert["fingerprint"] in found or len(found) < MANY:
                found[alert["fingerprint"]] = {
                    "fingerprint": alert["fingerprint"], "labels": alert["labels"],
                    "annotations": alert.get("annotations", {}), "link": alert.get("link"),
                }  # fmt: skip
        firing = dict.fromkeys((*event.began, *event.again), True) | dict.fromkeys(event.ended, False)
        for name in firing.keys() & found.keys():
            found[name] |= {"firing": firing[name], "told_at": row.occurred_at.isoformat()}
    return list(found.values())
