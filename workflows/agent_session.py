"""One agent session in Temporal: every thought and every act is an activity of its own. Holds no rule.

Thoughts and looks are local activities: a thought is a walk over the ledger, a look is one query, and a hop through the
server would cost more than either. Work and asking a model take seconds and keep a heartbeat: whole activities, which
Temporal retries as long as their endpoint may come back.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from harness.agent.loop import work
    from harness.core.action import Effect
    from workflows.edge import HEARTBEAT_TIMEOUT, RETRY
LOOK_TIMEOUT = timedelta(seconds=10)
WORK_TIMEOUT = timedelta(minutes=5)
ASK_TIMEOUT = timedelta(minutes=10)
"""A bound on the worker, not on the model: its endpoint has tighter ones, in ``policies/models.yaml``."""
ASKED_FOR = timedelta(minutes=30)
ASK_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2.0, maximum_interval=timedelta(minutes=1),
    maximum_attempts=12,
)  # fmt: skip
LOST_AFTER = timedelta(seconds=3)
"""A worker that was killed in a local activity is noticed when its workflow task times out; the default is 10 s."""


@workflow.defn(name="AgentSession")
class AgentSession:
    """The agent loop over activities; the conversation lives in the ledger, references travel."""

    @workflow.run
    async def run(self, ticket_id: str) -> None:
        """Begin the next attempt and work it to its end; nothing to do when a human was called instead."""
        steps_allowed: int = await self._do("begin_attempt", ticket_id)

        async def think(step: int) -> Effect | None:
            thought = await self._do_here("think", ticket_id, step)
            effect: Effect | None = await self._ask(ticket_id, step) if thought == "ask" else thought
            return effect

        async def act(step: int, effect: Effect) -> bool:
            do = self._do if effect == "work" else self._do_here
            ended: bool = await do("act", ticket_id, step)
            return ended

        async def give_up() -> None:
            await self._do("give_up", ticket_id)

        if steps_allowed:
            await work(think=think, act=act, give_up=give_up, steps_allowed=steps_allowed)

    async def _do(self, name: str, *arguments: object) -> Any:
        return await workflow.execute_activity(
            name, args=arguments, start_to_close_timeout=WORK_TIMEOUT, heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=RETRY, cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )  # fmt: skip

    async def _ask(self, ticket_id: str, step: int) -> Any:
        return await workflow.execute_activity(
            "ask", args=[ticket_id, step], start_to_close_timeout=ASK_TIMEOUT, schedule_to_close_timeout=ASKED_FOR,
            heartbeat_timeout=HEARTBEAT_TIMEOUT, retry_policy=ASK_RETRY,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )  # fmt: skip

    async def _do_here(self, name: str, *arguments: object) -> Any:
        return await workflow.execute_local_activity(
            name, args=arguments, start_to_close_timeout=LOOK_TIMEOUT, retry_policy=RETRY,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )  # fmt: skip
