"""The agent loop: think, act, until the agent ends the session or a limit does. Holds no rule; touches nothing itself.

In production ``think`` and ``act`` are Temporal activities, in simulation plain coroutines.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from harness.core.action import Effect


async def work(
    *,
    think: Callable[[int], Awaitable[Effect | None]],
    act: Callable[[int, Effect], Awaitable[bool]],
    give_up: Callable[[], Awaitable[None]],
    steps_allowed: int,
) -> None:
    """Run one session.

    Args:
        think: records the action of step n and gives its effect; None when a limit other than the number of steps is
            reached.
        act: does the recorded action of step n, which has that effect, and records what was seen; True when it ended
            the session.
        give_up: records that a limit ended the session.
        steps_allowed: how many steps a session may take.
    """
    for step in range(1, steps_allowed + 1):
        effect = await think(step)
        if effect is None:
            break
        if await act(step, effect):
            return
    await give_up()
