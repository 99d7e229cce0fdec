"""Proves on a real Temporal server that an order has one effect, and that errors reach its sender as they are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

from harness.adapters.node.agent import NodeAgent
from harness.adapters.temporal import HARNESS_QUEUE, TemporalNodes, connect, node_queue, tell_ticket
from harness.core import deployment
from harness.core.command import Command
from harness.core.errors import Broken, Forbidden, HarnessError, Invalid, Refused, Retryable
from harness.core.redaction import Secrets
from tests.acceptance.searching import found, places
from tests.integration.ports import free_port
from tests.integration.temporal_world import NAMESPACE, NO_SECRETS, Server, eventually, serving
from workflows.edge import HEARTBEATS_TOLD_EVERY
from workflows.node_api import NodeActivities, NodeOrder, NodeReport
from workflows.worker import STICKY_TIMEOUT

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


class Agent:
    """A node that counts its effects; ``troubles`` are raised first, one a call."""

    def __init__(self, name: str, *troubles: Exception) -> None:
        self.name = name
        self.effects: list[deployment.NodeOrder] = []
        self.calls = 0
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self._troubles = list(troubles)

    async def obey(self, order: deployment.NodeOrder) -> deployment.NodeAnswer:
        self.calls += 1
        await self.may_go_on.wait()
        if self._troubles:
            raise self._troubles.pop(0)
        self.effects.append(order)
        return deployment.NodeAnswer(
            node=self.name, ok=True, commit=order.commit, reason=f"effect {len(self.effects)}", started_at=NOW,
            ended_at=NOW,
        )  # fmt: skip

    async def report(self) -> deployment.NodeReport:
        return deployment.NodeReport(
            node=self.name, at=NOW, highest_token=7, slots={}, cpu_percent=1.5, memory_total_bytes=2,
            memory_used_bytes=1, gpus=(),
        )  # fmt: skip


@asynccontextmanager
async def node(client: Client, agent: Agent) -> AsyncIterator[None]:
    """A worker with the real API of a node around this agent."""
    activities = NodeActivities(cast(NodeAgent, agent))
    async with Worker(
        client, task_queue=node_queue(agent.name), workflows=[NodeOrder, NodeReport],
        activities=[activities.order, activities.report], sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        graceful_shutdown_timeout=timedelta(seconds=0), max_heartbeat_throttle_interval=HEARTBEATS_TOLD_EVERY,
    ):  # fmt: skip
        yield


def order(key: str, **fields: Any) -> deployment.NodeOrder:
    return deployment.NodeOrder.model_validate({"verb": "swap", "key": key, "token": 3, "commit": "c" * 40} | fields)


async def test_the_same_key_has_one_effect_and_one_answer(server: Server) -> None:
    # given a node, and an order that is sent three times at once
    client = await server.client()
    agent = Agent("n1")
    nodes = TemporalNodes(client, lambda: ("n1",))
    async with node(client, agent):
        answers = await asyncio.gather(*(nodes.order("n1", order("INF-1/1/deploy/n1")) for _ in range(3)))

        # when it is sent again after it was done, and another key after it
        again = await nodes.order("n1", order("INF-1/1/deploy/n1", commit="d" * 40))
        other = await nodes.order("n1", order("INF-1/2/deploy/n1"))

    # then there was one effect for each key, and the order arrived as it was sent
    assert [effect.key for effect in agent.effects] == ["INF-1/1/deploy/n1", "INF-1/2/deploy/n1"]
    assert agent.effects[0] == order("INF-1/1/deploy/n1")
    assert {answer.reason for answer in [*answers, again]} == {"effect 1"}
    assert (other.reason, answers[0].started_at, answers[0].ready_at) == ("effect 2", NOW, None)

    # and once the order is closed, its answer is had without the node
    assert await nodes.order("n1", order("INF-1/1/deploy/n1")) == answers[0]


async def test_the_same_key_at_two_nodes_is_two_orders(server: Server) -> None:
    client = await server.client()
    agents = Agent("t1"), Agent("t2")
    nodes = TemporalNodes(client, lambda: ("t1", "t2"))
    async with node(client, agents[0]), node(client, agents[1]):
        answers = [await nodes.order(agent.name, order("INF-1/1/canary")) for agent in agents]

    assert [answer.node for answer in answers] == ["t1", "t2"] == list(nodes.names())
    assert [len(agent.effects) for agent in agents] == [1, 1]


@pytest.mark.parametrize("kind", [Refused, Invalid, Forbidden, Broken])
async def test_a_nodes_error_reaches_the_sender_as_what_it_is(kind: type[HarnessError], server: Server) -> None:
    # given a node that refuses an order, or breaks on it
    client = await server.client()
    name = f"e-{kind.__name__}"
    agent = Agent(name, kind("token 3 is below 7"))
    nodes = TemporalNodes(client, lambda: (name,))
    async with node(client, agent):
        with pytest.raises(kind, match=f"node {name}, order INF-1/1/x: token 3 is below 7") as raised:
            await nodes.order(name, order("INF-1/1/x"))

        # then it was asked once, and the same key may be tried again
        assert type(raised.value) is kind and agent.calls == 1
        assert (await nodes.order(name, order("INF-1/1/x"))).ok

    assert len(agent.effects) == 1


async def test_what_a_node_can_do_later_is_done_later_under_the_same_order(server: Server) -> None:
    client = await server.client()
    agent = Agent("later", Retryable("uv does not answer"), OSError("no space"))
    async with node(client, agent):
        answer = await TemporalNodes(client, lambda: ("later",)).order("later", order("INF-1/1/x"))

    assert (answer.ok, agent.calls, len(agent.effects)) == (True, 3, 1)


async def test_what_a_node_can_never_do_is_retryable_for_the_sender_and_poisons_no_key(server: Server) -> None:
    # given a node that is in trouble for longer than an order may take
    client = await server.client()
    agent = Agent("never", *(Retryable("the data plane does not answer") for _ in range(100)))
    impatient = TemporalNodes(client, lambda: ("never",), order_timeout=timedelta(seconds=1))
    async with node(client, agent):
        # Temporal gives up with the last trouble where the next try would come too late, and else with silence
        told = "node never, order INF-1/1/x: (the data plane does not answer|no answer in time)"
        with pytest.raises(Retryable, match=told):
            await impatient.order("never", order("INF-1/1/x"))

        # when it is well again, then the same key gets its effect from who does not count the second
        agent._troubles.clear()
        assert (await TemporalNodes(client, lambda: ("never",)).order("never", order("INF-1/1/x"))).ok

    # and all that was done was that order: an attempt that was under way when its time was over may end after it, and
    # a node's own memory makes one effect of both (test_node_agent)
    assert {effect.key for effect in agent.effects} == {"INF-1/1/x"}


async def test_an_absent_node_is_named_within_seconds_and_does_its_order_once_when_it_is_back(server: Server) -> None:
    # given a node that does not run
    client = await server.client()
    impatient = TemporalNodes(client, lambda: ("gone",), pick_up_timeout=timedelta(seconds=1))
    started = time.monotonic()
    with pytest.raises(Retryable, match="node gone, order INF-1/1/x: the node does not pick it up"):
        await impatient.order("gone", order("INF-1/1/x"))
    assert time.monotonic() - started < 60

    # when it is back and the order is sent again
    agent = Agent("gone")
    async with node(client, agent):
        answer = await TemporalNodes(client, lambda: ("gone",)).order("gone", order("INF-1/1/x"))

    # then the order that lay in the queue and the one that was sent again are one
    assert answer.reason == "effect 1" and agent.calls == 1


async def test_an_order_that_takes_long_is_waited_for(server: Server) -> None:
    client = await server.client()
    agent = Agent("slow")
    agent.may_go_on.clear()
    impatient = TemporalNodes(client, lambda: ("slow",), pick_up_timeout=timedelta(seconds=0.2))
    async with node(client, agent):
        # given an order that the node has picked up, whoever sent it
        first = asyncio.create_task(TemporalNodes(client, lambda: ("slow",)).order("slow", order("INF-1/1/x")))
        await eventually(lambda: asyncio.sleep(0, agent.calls == 1))
        # when somebody asks for it who would not wait for long until it is picked up
        answer = asyncio.create_task(impatient.order("slow", order("INF-1/1/x")))
        _, pending = await asyncio.wait({answer}, timeout=0.4)
        assert pending == {answer}
        agent.may_go_on.set()

        assert (await answer).ok and (await first).ok and agent.calls == 1


async def test_a_report_is_read_anew_each_time_and_silence_names_the_node(server: Server) -> None:
    client = await server.client()
    nodes = TemporalNodes(client, lambda: ("r1", "r2"))
    impatient = TemporalNodes(client, lambda: ("r1", "r2"), report_timeout=timedelta(seconds=1))

    async def silent() -> float:
        started = time.monotonic()
        with pytest.raises(Retryable, match="node r2, report: no answer in time"):
            await impatient.report("r2")
        return time.monotonic() - started

    async with node(client, Agent("r1")):
        first, second, silence_s = await asyncio.gather(nodes.report("r1"), nodes.report("r1"), silent())
        third = await nodes.report("r1")

    assert first == second == third and (third.node, third.highest_token, third.at) == ("r1", 7, NOW)
    assert silence_s < 60


@workflow.defn(name="TicketWorkflow", sandboxed=False)
class FarFromASafePoint:
    """A ticket that hears what it is told, and never comes to a safe point."""

    @workflow.run
    async def run(self, ticket_id: str) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.update
    async def tell(self, command: Command) -> str:
        await workflow.wait_condition(lambda: False)
        return ""


async def test_a_ticket_that_comes_to_no_safe_point_in_time_is_not_called_a_server_that_is_away(server: Server) -> None:
    client = await server.client()
    told = Command(verb="pause", request="pause-1", by="ada")
    async with Worker(client, task_queue=HARNESS_QUEUE, workflows=[FarFromASafePoint]):
        with pytest.raises(Retryable, match=r"pause INF-1: the worker did not do it in time; .* It is not forgotten"):
            await tell_ticket(client, "INF-1", told, safe_point_within=timedelta(seconds=1))


async def test_a_server_that_is_not_there_is_retryable(server: Server) -> None:
    free = free_port()

    with pytest.raises(Retryable, match=f"127.0.0.1:{free} is not reachable"):
        await connect(f"127.0.0.1:{free}", NAMESPACE, NO_SECRETS)


async def test_what_a_node_says_and_fails_with_is_in_no_file_of_the_server(server: Server) -> None:
    """Values go by payload, and an error with its message, its causes and its traceback."""
    secret = 's3cret "of" a/node'
    client = await connect(server.address, NAMESPACE, Secrets.of({"NODE_TOKEN": secret}))
    agent = Agent("s1", Refused(f"it holds {secret}"), RuntimeError(f"deep {secret}, password=hunter2-of-it"))
    nodes = TemporalNodes(client, lambda: ("s1",))
    async with node(client, agent):
        # given a node that refuses with a secret in its words, then fails with one, then does what it is asked
        with pytest.raises(Refused, match=r"it holds \[redacted\]"):
            await nodes.order("s1", order("INF-1/1/s", actor=f"somebody {secret}"))
        await nodes.order("s1", order("INF-1/1/s", actor=f"somebody {secret}"))

    # then the node was told the actor without it, and the server never had it
    assert {effect.actor for effect in agent.effects} == {"somebody [redacted]"} and agent.calls == 3
    kept = dict(places(server.folder))
    assert any(b"it holds [redacted]" in content for content in kept.values())
    assert any(b"password=[redacted]" in content for content in kept.values())
    assert found(kept.items(), {"it": secret, "password": "hunter2-of-it"}) == []
