"""A ticket and its parts on a real Temporal server: pump and family carry between them what happens to one of them.

The real workflows and stages on a modelled world, whose time runs fast.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from harness.adapters.temporal import tell_ticket
from harness.core.command import Command, Verb
from harness.core.ids import ticket_stream
from harness.core.lifecycle import ENDS, State
from harness.simulation.world import World
from tests.integration.fast_loop import FastLoop
from tests.integration.temporal_world import serving
from tests.integration.test_recover import HEALTHY_S, QUICK, SPEED, on_a_fast_loop, so, worked
from tests.simulation.operations import MANIFEST, Operations
from tests.simulation.test_splitting import part
from workflows.family import NAME, Family
from workflows.follow import follow

VERIFY = QUICK.profile.verify.model_copy(update={"window_s": 1.0, "min_samples": 300})
QUICKER = replace(QUICK, profile=QUICK.profile.model_copy(update={"verify": VERIFY}))
SOON = {"metric": "slow_share", "condition": "< 10%"}
"""Without a duration: one window of the verification, whose timer is the server's, and real."""


@pytest.mark.timeout(120)
def test_a_family_goes_from_filing_to_its_verified_parent_and_ends_as_one_when_that_is_cancelled() -> None:
    async def story(loop: FastLoop) -> None:
        client = await server.client()
        operations = Operations.on(World(MANIFEST, seed=4), rules=QUICKER)
        ledger, blobs, clock = operations.ledger, operations.blobs, operations.world.clock
        operations.world.release()
        loop.speed = SPEED
        family = Family(client, ledger=ledger, blobs=blobs, clock=clock)

        async def told(verb: Verb, ticket_id: str) -> None:
            loop.speed = 1.0  # the client's patience is counted on this loop
            command = Command(verb=verb, request=f"{verb}-{ticket_id}", by="ada", text=blobs.put_json({"text": "so"}))
            await tell_ticket(client, ticket_id, command)

        async with worked(client, operations):
            following = asyncio.create_task(follow(cast(Any, ledger), NAME, family.see))
            await clock.sleep(HEALTHY_S)
            # given a ticket of two parts
            whole = operations.file(children=[part(criterion=SOON), part(criterion=SOON)], acceptance_criteria=[SOON])
            await so(lambda: operations.state(whole) in ENDS)
            # then all are resolved, the whole last
            assert [operations.state(one) for one in operations.tickets()] == [State.RESOLVED] * 3
            closed = {one: operations.ticket(one).closed_at for one in operations.tickets()}
            assert max(closed, key=lambda one: closed[one]) == whole  # type: ignore[arg-type, return-value]

            # and given another, whose parts wait for their hours
            hours = "no changes 08:00-10:30 Mon-Fri Europe/Berlin"
            ended = operations.file(children=[part(constraints=[hours]), part(constraints=[hours])])
            await so(lambda: operations.state(ended) is State.WAITING)
            parts = operations.ticket(ended).children
            await so(lambda: all(operations.state(one) is State.WAITING for one in parts))
            await told("pause", ended)
            await so(lambda: all(operations.state(one) is State.PAUSED for one in parts))
            await told("resume", ended)
            await so(lambda: all(operations.state(one) is State.WAITING for one in parts))
            # when it is cancelled, then they are, in the name of who did it
            await told("cancel", ended)
            await so(lambda: all(operations.state(one) is State.CANCELLED for one in parts))
            last = operations.ledger.read_stream(ticket_stream(parts[0]))[-1]
            assert last.actor == "human:ada"
            assert not following.done()
            following.cancel()

    with serving() as server:
        on_a_fast_loop(story)
