"""One agent session in Temporal: every thought and every act is an activity of its own. Holds no rule."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from harness.agent.loop import work
    from workflows.edge import HEARTBEAT_TIMEOUT, RETRY

T = TypeVar("T")
THINK_TIMEOUT = timedelta(seconds=10)
STEP_TIMEOUT = timedelta(minutes=5)


@workflow.defn(name="AgentSession")
class AgentSession:
    """The agent loop over activities; the conversation lives in the ledger, references travel."""

    @workflow.run
    async def run(self, ticket_id: str) -> None:
        """Begin the next attempt and work it to its end; nothing to do when a human was called instead."""
        steps_allowed = await self._do("begin_attempt", int, ticket_id)

        async def think(step: int) -> bool:
            # Local, because this agent's thought is a pure walk over the ledger: a hop through the server would cost
            # more than the thought. A model's call is long and is to be an activity like any other.
            chosen: bool = await workflow.execute_local_activity(
                "think", args=[ticket_id, step], result_type=bool, start_to_close_timeout=THINK_TIMEOUT,
                retry_policy=RETRY,
            )  # fmt: skip
            return chosen

        async def act(step: int) -> bool:
            return await self._do("act", bool, ticket_id, step)

        async def give_up() -> None:
            await self._do("give_up", str, ticket_id)

        if steps_allowed:
            await work(think=think, act=act, give_up=give_up, steps_allowed=steps_allowed)

    async def _do(self, name: str, kind: type[T], *arguments: object) -> T:
        done: T = await workflow.execute_activity(
            name, args=arguments, result_type=kind, start_to_close_timeout=STEP_TIMEOUT,
            heartbeat_timeout=HEARTBEAT_TIMEOUT, retry_policy=RETRY,
        )  # fmt: skip
        return done
