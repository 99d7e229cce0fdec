"""The agent loop: who ends a session, and that it is ended once. Touches nothing."""

from __future__ import annotations

import pytest

from harness.agent.loop import work
from harness.core.action import Effect

EFFECTS: tuple[Effect, ...] = ("read", "work", "end")


class Session:
    """Counts what the loop asks for."""

    def __init__(self, *, limit_at: int | None = None, ends_at: int | None = None) -> None:
        self.limit_at, self.ends_at = limit_at, ends_at
        self.said: list[str] = []

    async def think(self, step: int) -> Effect | None:
        self.said.append(f"think {step}")
        return None if step == self.limit_at else EFFECTS[step % len(EFFECTS)]

    async def act(self, step: int, effect: Effect) -> bool:
        assert effect == EFFECTS[step % len(EFFECTS)]
        self.said.append(f"act {step}")
        return step == self.ends_at

    async def give_up(self) -> None:
        self.said.append("give up")

    async def run(self, steps_allowed: int) -> list[str]:
        await work(think=self.think, act=self.act, give_up=self.give_up, steps_allowed=steps_allowed)
        return self.said


async def test_the_agent_ends_its_session() -> None:
    assert await Session(ends_at=2).run(5) == ["think 1", "act 1", "think 2", "act 2"]


async def test_a_limit_ends_it_before_the_next_act() -> None:
    assert await Session(limit_at=2).run(5) == ["think 1", "act 1", "think 2", "give up"]


@pytest.mark.parametrize("steps_allowed", [1, 2])
async def test_the_steps_allowed_end_it(steps_allowed: int) -> None:
    said = await Session().run(steps_allowed)
    assert said[-2:] == [f"act {steps_allowed}", "give up"] and len(said) == 2 * steps_allowed + 1
