"""The catalog of tools: name, arguments, effect; and calling one. A bad call is an answer to the agent, not a crash."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from harness.agent.desk import Desk
from harness.agent.speech import NO_CALL
from harness.agent.tools import end, read, work
from harness.core.action import Action, Effect, Observation
from harness.core.conversation import ToolSchema
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
    "read_tunable": Tool(read.ReadTunable, "read", read.read_tunable),
    "check_action": Tool(read.CheckAction, "read", read.check_action),
    "git_log": Tool(read.GitLog, "read", read.git_log),
    "git_diff": Tool(read.GitDiff, "read", read.git_diff),
    "read_file": Tool(read.ReadFile, "read", read.read_file),
    "search_code": Tool(read.SearchCode, "read", read.search_code),
    "measure": Tool(work.MeasureCommit, "work", work.measure),
    "compare_values": Tool(work.CompareValues, "work", work.compare_values),
    "set_tunable": Tool(work.SetTunable, "work", work.set_tunable),
    "revert_commit": Tool(work.RevertCommit, "work", work.revert_commit),
    "revert_release": Tool(work.RevertRelease, "work", work.revert_release),
    "edit_file": Tool(work.EditFile, "work", work.edit_file),
    "write_file": Tool(work.WriteFile, "work", work.write_file),
    "run_checks": Tool(work.RunChecks, "work", work.run_checks),
    "submit_change": Tool(end.SubmitChange, "end", end.submit_change),
    "propose_action": Tool(end.ProposeAction, "end", end.propose_action),
    "nothing_to_change": Tool(end.Why, "end", end.nothing_to_change),
    "split_ticket": Tool(end.SplitTicket, "end", end.split_ticket),
    "call_for_help": Tool(end.Question, "end", end.call_for_help),
}


def effect_of(tool: str) -> Effect:
    """What kind of effect a call of this tool has; one that there is not is only answered."""
    return TOOLS[tool].effect if tool in TOOLS else "read"


def schemas() -> tuple[ToolSchema, ...]:
    """The catalog as a model is told it: what the coroutine gives, and the form of its arguments."""
    return tuple(
        ToolSchema(name, " ".join((tool.call.__doc__ or "").split()), tool.arguments.model_json_schema())
        for name, tool in TOOLS.items()
    )


async def call(action: Action, desk: Desk) -> Observation:
    """Do the action. An unknown tool, bad arguments or a refusal come back as an observation that is not ok."""
    if action.tool == NO_CALL:
        return Observation(ok=False, body=action.arguments)
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
