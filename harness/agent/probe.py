"""One fixed, read-only session with a model: does the endpoint answer, call tools, and end? Touches only the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.agent.speech import framed, unusable
from harness.core.conversation import (
    Call,
    Message,
    Prompt,
    Reply,
    Result,
    Results,
    Said,
    ToolSchema,
    Usage,
    with_own_ids,
)  # fmt: skip
from harness.core.errors import Refused, Retryable
from harness.core.model_policy import Probe
from harness.ports import Clock, Model

N = TypeVar("N", int, float)

FIRST_WAIT_S: Final = 0.5
"""Before a request is tried again; twice as long each time. What the server asks for goes before it."""
_NOTES: Final = {"status": "All three nodes serve. Nothing is on fire.", "weather": "Rain in the afternoon."}


class _Arguments(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ListNotes(_Arguments):
    """No arguments."""


class ReadNote(_Arguments):
    """The name of a note."""

    name: str = Field(description="As `list_notes` gives it.")


class Finish(_Arguments):
    """What was found."""

    summary: str = Field(description="One sentence.")


_TOOLS: Final[dict[str, tuple[type[_Arguments], str]]] = {
    "list_notes": (ListNotes, "The names of all notes."),
    "read_note": (ReadNote, "The text of a note."),
    "finish": (Finish, "End the session."),
}


@dataclass(slots=True)
class Report:
    """``model_calls + retries`` is the number of requests on the wire. Tokens and cost are None when not known."""

    exit_status: Literal["finished", "limits", "refused", "model_error"] = "limits"
    model_calls: int = 0
    tool_calls: int = 0
    retries: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None
    error: str | None = None
    unreachable: bool = False
    """Whether the error may pass by itself."""
    summary: str | None = None
    model: str | None = None

    def document(self) -> dict[str, Any]:
        """The contract's JSON."""
        return {name: value for name, value in asdict(self).items() if name != "unreachable"}


async def probe(
    model: Model, clock: Clock, *, system: str, limits: Probe, cost_usd: Callable[[str, Usage], float | None]
) -> Report:
    """Run the session to its end, whatever that is."""
    return await _Session(model, clock, system, limits, cost_usd).run()


class _Session:
    def __init__(
        self, model: Model, clock: Clock, system: str, limits: Probe,
        cost_usd: Callable[[str, Usage], float | None],
    ) -> None:  # fmt: skip
        self._model, self._clock, self._system, self._limits, self._cost_usd = model, clock, system, limits, cost_usd
        self._messages: list[Message] = [Said(text="Begin.")]
        self._usages: list[tuple[Usage, float | None]] = []
        self._began_at = clock.now()
        self.report = Report()

    async def run(self) -> Report:
        report = self.report
        try:
            while report.model_calls < self._limits.calls and self._left_s() > 0:
                if await self._turn():
                    return report
            report.error = (
                f"no `finish` within {report.model_calls} model calls and {self._limits.wall_clock_s:g} s; "
                f"at most {self._limits.calls} calls are allowed"
            )
        except (Retryable, Refused) as error:
            report.exit_status, report.error = "model_error", str(error)
            report.unreachable = isinstance(error, Retryable)
        return report

    async def _turn(self) -> bool:
        reply = with_own_ids(await self._ask(), self._ids())
        self._messages.append(reply)
        self._count(reply)
        if reply.stop == "declined":
            self.report.exit_status, self.report.error = "refused", f"the model declined: {reply.text or 'no reason'}"
            return True
        if not reply.calls:
            self._messages.append(Said(text=unusable(reply, None) or ""))
            return False
        self._messages.append(Results(results=tuple(self._result(reply, call) for call in reply.calls)))
        return self.report.exit_status == "finished"

    async def _ask(self) -> Reply:
        prompt = Prompt(self._system, _schemas(), tuple(self._messages))
        self.report.model_calls += 1
        for tried in range(1, self._limits.tries + 1):
            try:
                return await self._model.reply(prompt)
            except Retryable as error:
                wait_s = FIRST_WAIT_S * 2 ** (tried - 1) if error.retry_after_s is None else error.retry_after_s
                if tried == self._limits.tries:
                    raise Retryable(f"given up after {tried} tries: {error}") from None
                if wait_s >= self._left_s():
                    raise Retryable(
                        f"{error}; the next try may be in {wait_s:g} s, and {max(self._left_s(), 0):.0f} s are left"
                    ) from None
                await self._clock.sleep(wait_s)
                self.report.retries += 1
        raise AssertionError("the last try returns or raises")

    def _result(self, reply: Reply, call: Call) -> Result:
        self.report.tool_calls += 1
        if (why := unusable(reply, call)) is not None:
            return Result(id=call.id, text=why, ok=False)
        ok, text = _done(call.tool, call.arguments or {})
        if ok and call.tool == "finish":
            self.report.exit_status, self.report.summary = "finished", text
        return Result(id=call.id, text=framed(call.tool, text) if ok else text, ok=ok)

    def _count(self, reply: Reply) -> None:
        report, usage = self.report, reply.usage
        self._usages.append((usage, self._cost_usd(reply.model, usage)))
        report.model = reply.model
        report.prompt_tokens = _sum(one.tokens_in for one, _ in self._usages)
        report.completion_tokens = _sum(one.tokens_out for one, _ in self._usages)
        report.cost_usd = _sum(cost for _, cost in self._usages)

    def _ids(self) -> frozenset[str]:
        return frozenset(call.id for one in self._messages if isinstance(one, Reply) for call in one.calls)

    def _left_s(self) -> float:
        return self._limits.wall_clock_s - (self._clock.now() - self._began_at).total_seconds()


def _done(tool: str, given: Mapping[str, Any]) -> tuple[bool, str]:
    if tool not in _TOOLS:
        return False, f"no tool `{tool}`; there are: {', '.join(_TOOLS)}"
    try:
        arguments = _TOOLS[tool][0].model_validate(given)
    except ValidationError as error:
        return False, "; ".join(f"{tool}: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    match arguments:
        case ReadNote(name=name):
            return name in _NOTES, _NOTES.get(name, f"no note `{name}`; there are: {', '.join(_NOTES)}")
        case Finish(summary=summary):
            return True, summary
    return True, ", ".join(_NOTES)


def _sum(values: Iterable[N | None]) -> N | None:
    """The sum; None when one of them is not known."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def _schemas() -> tuple[ToolSchema, ...]:
    return tuple(ToolSchema(name, says, arguments.model_json_schema()) for name, (arguments, says) in _TOOLS.items())
