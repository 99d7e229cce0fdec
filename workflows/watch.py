"""The watch in Temporal: one tick at every whole second, for ever. Holds no rule."""

from __future__ import annotations

import math
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from harness.stages.observe import Memory
    from workflows.edge import RETRY

TICK_TIMEOUT = timedelta(seconds=10)
TICKS_PER_RUN = 300
"""A history is cut after so many ticks, long before Temporal asks for it."""


@workflow.defn(name="WatchWorkflow")
class WatchWorkflow:
    """Evaluates SLOs and invariants; what it remembers between ticks travels on when the history is cut."""

    @workflow.run
    async def run(self, memory: Memory | None = None) -> None:
        """Tick until the run is long enough, then go on in a new one."""
        tick_s = 1.0
        for _ in range(TICKS_PER_RUN):
            now = workflow.now().timestamp()
            await workflow.sleep(timedelta(seconds=(math.floor(now / tick_s) + 1) * tick_s - now))
            memory = await workflow.execute_activity(
                "watch_tick", memory, result_type=Memory, start_to_close_timeout=TICK_TIMEOUT, retry_policy=RETRY
            )
        workflow.continue_as_new(memory)
