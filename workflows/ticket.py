"""The life of one ticket in Temporal: asks the lifecycle which stage is next, runs it, obeys people. Holds no rule."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError, is_cancelled_exception
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from harness.core.command import INTERRUPTS, Command, refuse_unless_open
    from harness.core.errors import KINDS, Broken, HarnessError, Refused, Retryable
    from harness.core.lifecycle import ENDS, STAGE, TIMED, State
    from workflows.agent_session import LOST_AFTER, AgentSession
    from workflows.edge import HEARTBEAT_TIMEOUT, RETRY

STAGE_TIMEOUT = timedelta(minutes=30)
FIRST_PAUSE, LAST_PAUSE = timedelta(seconds=1), timedelta(minutes=5)
COMMAND_TIMEOUT = timedelta(minutes=2)
"""So long a command is tried: what it needs may be away. It is told to the person, and can be said again."""


@dataclass
class Told:
    """A command that waits for its safe point, and what came of it."""

    command: Command
    done: bool = False
    refusal: HarnessError | None = None


@workflow.defn(name="TicketWorkflow", failure_exception_types=[Refused, Retryable, Broken])
class TicketWorkflow:
    """One ticket, from filed to its end, alive also while a person has it. The ledger says where it is; so it can be
    restarted at any time."""

    def __init__(self) -> None:
        self._state = State.FILED
        self._resting = False
        """Whether nothing is done until time or a person moves the ticket: then ``_state`` is where it is."""
        self._told: list[Told] = []
        self._woken = False
        """Whether what the ticket waits for may have changed since it was looked at."""
        self._breakable: asyncio.Task[str] | None = None
        """What is done now and may be broken off."""
        self._stage_now = ""
        """The stage that it is part of."""

    @workflow.run
    async def run(self, ticket_id: str) -> str:
        """The state in which the ticket ended."""
        await self._surely("look", ticket_id)
        while self._told or self._state not in ENDS or not workflow.all_handlers_finished():
            if self._told:
                await self._obey(ticket_id, self._told.pop(0))
            elif self._state in ENDS:
                await workflow.wait_condition(lambda: bool(self._told) or workflow.all_handlers_finished())
            elif stage := STAGE.get(self._state):
                await self._stage(stage, ticket_id)
            else:
                await self._rest(ticket_id)
        return self._state

    @workflow.update
    async def tell(self, command: Command) -> str:
        """Tell the ticket something; the state that it is in when that is done. Once per id of the update."""
        told = Told(command)
        self._told.append(told)
        if self._breakable is not None and command.verb in INTERRUPTS[self._stage_now]:
            self._breakable.cancel()
        await workflow.wait_condition(lambda: told.done)
        if told.refusal is not None:
            raise told.refusal
        return self._state

    @tell.validator
    def _refuse(self, command: Command) -> None:
        if self._resting and not self._told:
            refuse_unless_open(self._state, command.verb)

    @workflow.signal
    def wake(self) -> None:
        """What the ticket waits for may have changed: look again."""
        self._woken = True

    async def _stage(self, stage: str, ticket_id: str) -> None:
        before = self._state
        work = self._session(ticket_id) if stage == "work" else self._do(stage, ticket_id)
        try:
            if stage in INTERRUPTS:
                self._stage_now = stage
                self._breakable = asyncio.create_task(work)
                self._state = State(await self._breakable)
            else:
                self._state = State(await work)
        except (ActivityError, ChildWorkflowError, asyncio.CancelledError) as failure:
            if any(told.command.verb in INTERRUPTS.get(stage, ()) for told in self._told):
                await self._surely("look", ticket_id)
            elif isinstance(failure, asyncio.CancelledError):
                raise
            else:
                await self._surely("escalate", ticket_id, f"{stage}: {_innermost(failure)}")
        finally:
            self._breakable = None
        if self._state is State.QUEUED or self._state is before is State.VERIFYING:
            await self._rest(ticket_id)  # it is not time yet

    async def _session(self, ticket_id: str) -> str:
        info = workflow.info()  # the run too: the session of one that somebody ended may still be ending
        session = f"{ticket_id}/work-{info.run_id[-12:]}-{info.get_current_history_length()}"
        await workflow.execute_child_workflow(AgentSession.run, ticket_id, id=session, task_timeout=LOST_AFTER)
        return await self._do("look", ticket_id)

    async def _rest(self, ticket_id: str) -> None:
        """Until a person says something, or the time has come that the ticket waits for, or may have changed."""
        self._woken = False
        try:
            seconds: float | None = await self._call("rest", ticket_id, gives=float | None)
            if await self._nothing_for(seconds) and self._state in TIMED:
                await self._go("open_window", ticket_id)
        except ActivityError as failure:  # what says for how long, main's service.yaml say, is not as it should be
            if is_cancelled_exception(failure):
                raise
            await self._surely("escalate", ticket_id, f"waiting: {_innermost(failure)}")

    async def _nothing_for(self, seconds: float | None) -> bool:
        """Whether that time has passed (None: all time) without anything that was told."""
        timeout = None if seconds is None else timedelta(seconds=seconds)
        self._resting = True
        try:
            await workflow.wait_condition(lambda: bool(self._told) or self._woken, timeout=timeout)
        except TimeoutError:
            return True
        finally:
            self._resting = False
        return False

    async def _obey(self, ticket_id: str, told: Told) -> None:
        try:
            await self._go("obey", ticket_id, told.command, within=COMMAND_TIMEOUT)
        except ActivityError as failure:
            told.refusal = _refusal(told.command, failure)
            await self._surely("look", ticket_id)
        told.done = True

    async def _surely(self, name: str, *arguments: str) -> None:
        """Until it is done, however often it is refused (a disk that may only be read): nothing begins a workflow anew
        that ended, so its ticket would be left to nobody, and nobody would know."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._go(name, *arguments)
                return
            except ActivityError as failure:
                if is_cancelled_exception(failure):
                    raise
                workflow.logger.error("%s failed, it is tried again: %s", name, failure.cause)
            await workflow.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)

    async def _go(self, name: str, *arguments: object, within: timedelta | None = None) -> None:
        self._state = State(await self._do(name, *arguments, within=within))

    async def _do(self, name: str, *arguments: object, within: timedelta | None = None) -> str:
        state: str = await self._call(name, *arguments, gives=str, within=within)
        return state

    async def _call(self, name: str, *arguments: object, gives: Any, within: timedelta | None = None) -> Any:
        return await workflow.execute_activity(
            name, args=arguments, result_type=gives, start_to_close_timeout=STAGE_TIMEOUT,
            schedule_to_close_timeout=within, heartbeat_timeout=HEARTBEAT_TIMEOUT, retry_policy=RETRY,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )  # fmt: skip


def _innermost(failure: BaseException) -> str:
    while failure.__cause__ is not None:
        failure = failure.__cause__
    return str(failure)


def _refusal(command: Command, failure: ActivityError) -> HarnessError:
    """What the person is told: the harness's own error, or that something needed was away for too long."""
    cause: BaseException | None = failure.cause
    if isinstance(cause, ApplicationError) and cause.type in KINDS and cause.type != Retryable.__name__:
        return KINDS[cause.type](cause.message)
    return Retryable(f"{command.verb}: was not done within {COMMAND_TIMEOUT}: {_innermost(failure)}; say it again")
