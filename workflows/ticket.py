"""The life of one ticket in Temporal: asks the lifecycle which stage is next, runs it, until none is. Holds no rule."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ChildWorkflowError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from harness.core.lifecycle import STAGE, State
    from workflows.agent_session import LOST_AFTER, AgentSession
    from workflows.edge import HEARTBEAT_TIMEOUT, RETRY

STAGE_TIMEOUT = timedelta(minutes=30)
FIRST_PAUSE, LAST_PAUSE = timedelta(seconds=1), timedelta(minutes=5)


@workflow.defn(name="TicketWorkflow")
class TicketWorkflow:
    """One ticket, from filed to an end or to a person's turn. The ledger says where it is; so it can be restarted."""

    @workflow.run
    async def run(self, ticket_id: str) -> str:
        """The state at which the workflow has nothing left to do."""
        state = await self._surely("look", ticket_id)
        while (stage := STAGE.get(State(state))) is not None:
            try:
                if stage == "work":
                    session = f"{ticket_id}/work-{workflow.info().get_current_history_length()}"
                    await workflow.execute_child_workflow(
                        AgentSession.run, ticket_id, id=session, task_timeout=LOST_AFTER
                    )
                    state = await self._do("look", ticket_id)
                else:
                    state = await self._do(stage, ticket_id)
            except (ActivityError, ChildWorkflowError) as failure:
                state = await self._surely("escalate", ticket_id, f"{stage}: {_innermost(failure)}")
        return state

    async def _surely(self, name: str, *arguments: str) -> str:
        """Until it is done, however often it is refused (a disk that may only be read): nothing begins a workflow anew
        that ended, so its ticket would be left to nobody, and nobody would know."""
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._do(name, *arguments)
            except ActivityError as failure:
                if is_cancelled_exception(failure):
                    raise
                workflow.logger.error("%s failed, it is tried again: %s", name, failure.cause)
            await workflow.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)

    async def _do(self, name: str, *arguments: str) -> str:
        state: str = await workflow.execute_activity(
            name, args=arguments, result_type=str, start_to_close_timeout=STAGE_TIMEOUT,
            heartbeat_timeout=HEARTBEAT_TIMEOUT, retry_policy=RETRY,
        )  # fmt: skip
        return state


def _innermost(failure: BaseException) -> str:
    while failure.__cause__ is not None:
        failure = failure.__cause__
    return str(failure)
