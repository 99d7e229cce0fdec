"""`harness recover`: begins anew, from the ledger, what Temporal has lost. Prints what it began; changes no ticket."""

from __future__ import annotations

import asyncio

from harness.bootstrap import read_record
from harness.cli.render import AsJson, print_json, say
from harness.recover import Recovered, Workflow, recover
from harness.settings import Settings

SAID: dict[Workflow, str] = {
    "begun": "had no workflow, goes on from the ledger",
    "runs": "runs, needed nothing",
    "stopped": "is left alone, as everything is stopped; `harness ticket resume --all` lets it go on",
}


def recover_(as_json: AsJson = False) -> None:
    """Begin the workflow of every live ticket that has none, and the watch. Harmless at any time, also twice at once.

    The worker does it by itself when Temporal comes back empty; this also brings back a workflow that somebody ended.
    Exit 4 when Temporal is not reachable.
    """
    settings = Settings.load()
    found = asyncio.run(_recover(settings))
    if as_json:
        tickets = [{"id": one, "state": state, "workflow": workflow} for one, state, workflow in found.tickets]
        print_json({"tickets": tickets, "watch": found.watch})
        return
    for ticket_id, state, workflow in found.tickets:
        say(f"{ticket_id} is {state}: {SAID[workflow]}")
    say(f"the watch: {SAID[found.watch] if found.watch == 'runs' else 'had no workflow, watches again'}")
    if not found.tickets:
        print("no ticket lives")


async def _recover(settings: Settings) -> Recovered:
    from harness.adapters.temporal import TemporalWorkflows, connect  # a second of imports that no other command needs

    record = read_record(settings)
    client = await connect(settings.temporal_address, settings.temporal_namespace, settings.secrets)
    return await recover(record.ledger, TemporalWorkflows(client))
