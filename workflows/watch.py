"""The watch in Temporal: one tick a second, just after the sample that it evaluates, for ever. Holds no rule."""

from __future__ import annotations

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from harness.stages.observe import Memory
    from workflows.edge import HEARTBEAT_TIMEOUT, RETRY

TICK_TIMEOUT = timedelta(seconds=10)
EVERY = timedelta(seconds=1)
SETTLES = timedelta(milliseconds=60)
"""A scrape is stored, and can be queried, so long after its time stamp."""
TICKS_PER_RUN = 300
"""A history is cut after so many ticks, long before Temporal asks for it."""


@workflow.defn(name="WatchWorkflow")
class WatchWorkflow:
    """Evaluates SLOs and invariants; what it remembers between ticks travels on when the history is cut."""

    @workflow.run
    async def run(self, memory: Memory | None = None) -> None:
        """Tick until the run is long enough, then go on in a new one."""
        for _ in range(TICKS_PER_RUN):
            await workflow.sleep(until_next_sample(memory.sampled_at if memory else None, workflow.now()))
            try:
                memory = await workflow.execute_activity(
                    "watch_tick",
                    memory,
                    result_type=Memory,
                    start_to_close_timeout=TICK_TIMEOUT,
                    heartbeat_timeout=HEARTBEAT_TIMEOUT,
                    retry_policy=RETRY,
                )
            except ActivityError as failure:
                if is_cancelled_exception(failure):
                    raise
                # A watch that ended would look like a service without trouble.
                workflow.logger.error("tick failed, the watch goes on: %s", failure.cause)
        workflow.continue_as_new(memory)


def until_next_sample(last: datetime | None, now: datetime) -> timedelta:
    """How long until the next sample is there; samples come at a fixed phase, so the last one tells all others.

    Ticking at whole seconds instead would let a sample lie for half a second on average.
    """
    if last is None:
        return EVERY
    due = last + EVERY + SETTLES
    while due <= now:
        due += EVERY
    return min(due - now, EVERY + SETTLES)  # not until a clock that was set back has caught up
