"""How long the watch took from the first sample in which an objective burnt until its ticket was on record.

``HARNESS_HOME=… python -m benchmarks.detection`` asks the Prometheus and the ledger of a stack that runs, as after
``harness demo --keep``: every ticket for an objective that is in its ledger is a row. It evaluates every sample before
the ticket anew, so a tick that was left out, or came late, is in the figure. Changes nothing.

An interval is the time between two samples, a second. What the windows of an objective need to fill is not in it: the
demo tells that, from the fault on.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from datetime import datetime, timedelta

from harness.adapters.declarations import load_manifest
from harness.bootstrap import CHECKOUT, Record, build_metrics, read_record, read_rules
from harness.core import events as e
from harness.core.ids import signal_stream, ticket_stream
from harness.journal import decode, read_ticket
from harness.objectives import look
from harness.ports import Metrics
from harness.settings import Settings

INTERVAL = timedelta(seconds=1)
BACK = 30
GOAL = 2.0


async def main() -> int:
    """Prints a row a ticket and the median; 1 when there is none."""
    settings = Settings.load()
    record, metrics = read_record(settings), build_metrics(settings)
    delays = []
    for stream in record.ledger.streams(ticket_stream("")):
        ticket = read_ticket(record.ledger, stream.removeprefix(ticket_stream("")))
        if ticket.filed.source != "slo" or ticket.filed.fingerprint is None:
            continue
        name = str(ticket.filed.signal).partition(":")[2]
        began = await first_burning(record, metrics, name, ticket.filed.fingerprint, ticket.filed_at)
        delay = (ticket.filed_at - began) / INTERVAL
        delays.append(delay)
        print(f"{ticket.id:<8} {name:<14} {delay:5.2f} intervals from the first sample that burnt to the ticket")
    if not delays:
        print("no ticket for an objective is in this ledger; `harness demo --keep` makes one", file=sys.stderr)
        return 1
    worst, median = max(delays), statistics.median(delays)
    print(f"{len(delays)} tickets: median {median:.2f} intervals, worst {worst:.2f}; goal ≤ {GOAL:g}")
    return 0


async def first_burning(record: Record, metrics: Metrics, objective: str, cause: str, filed_at: datetime) -> datetime:
    """The first sample of the run of burning ones that the ticket was filed in."""
    rules = read_rules()
    manifest = load_manifest(CHECKOUT / "services" / rules.service / "service.yaml")
    slos = [slo for slo in rules.slos if slo.name == objective]
    started = [event for row in record.ledger.read_stream(signal_stream(cause))
               if row.occurred_at <= filed_at and isinstance(event := decode(row), e.SignalStarted)]  # fmt: skip
    moment = started[-1].waits[0].closed_at
    for _ in range(BACK):
        before = moment - INTERVAL
        if (await look(metrics, manifest, slos, {}, before)).states[objective].state != "burning":
            return moment
        moment = before
    raise SystemExit(
        f"{objective} burnt for more than {BACK} samples before its ticket: its data are not those of a demo"
    )


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
