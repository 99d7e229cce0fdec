"""The catalog of tools: name, arguments, effect; and calling one. A bad call is an answer to the agent, not a crash."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from harness.agent.desk import Desk
from harness.agent.tools import end, read, work
from harness.core.action import Action, Effect, Observation
from harness.core.errors import Refused


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: its schema, what kind of effect it has, and the coroutine that does it."""

    arguments: type[BaseModel]
    effect: Effect
    call: Callable[[Any, Desk], Awaitable[Observation]]


TOOLS: Final[dict[str, Tool]] = {
    "query_metric": Tool(read.QueryMetric, "read", read.query_metric),
    "service_health": Tool(read.ServiceHealth, "read", read.service_health),
    "list_events": Tool(read.ListEvents, "read", read.list_events),
    "git_log": Tool(read.GitLog, "read", read.git_log),
    "git_diff": Tool(read.GitDiff, "read", read.git_diff),
    "measure": Tool(work.MeasureCommit, "work", work.measure),
    "revert_commit": Tool(work.RevertCommit, "work", work.revert_commit),
    "submit_change": Tool(end.SubmitChange, "end", end.submit_change),
    "nothing_to_change": Tool(end.Why, "end", end.nothing_to_change),
    "call_for_help": Tool(end.Question, "end", end.call_for_help),
}


def effect_of(tool: str) -> Effect:
    """What kind of effect a call of this tool has; one that there is not is only answered."""
    return TOOLS[tool].effect if tool in TOOLS else "read"


async def call(action: Action, desk: Desk) -> Observation:
    """Do the action. An unknown tool, bad arguments or a refusal come back as an observation that is not ok."""
    tool = TOOLS.get(action.tool)
    if tool is None:
        return Observation(ok=False, body={"reason": f"no tool `{action.tool}`; there are: {', '.join(TOOLS)}"})
    try:
        return await tool.call(tool.arguments.model_validate(action.arguments), desk)
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        return Observation(ok=False, body={"reason": f"{action.tool}: {reasons}"})
    except Refused as error:
        return Observation(ok=False, body={"reason": str(error)})
