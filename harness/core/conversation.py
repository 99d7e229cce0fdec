"""What is said to a model and what comes back, in a form of our own that no provider owns. Values; touches nothing."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, count
from typing import Any, Literal

from harness.core.events import Value

Stop = Literal["whole", "cut", "declined"]
"""``cut``: the output ended at its limit; ``declined``: the model, or a filter before it, would not answer."""


class Call(Value):
    """A tool that the model wants called. ``arguments`` is None when ``given`` is no JSON object."""

    id: str
    tool: str
    arguments: dict[str, Any] | None
    given: str


class Usage(Value):
    """Tokens of one reply, None where the endpoint did not say. ``tokens_in`` counts those of the cache as well."""

    tokens_in: int | None = None
    tokens_out: int | None = None
    cache_read: int = 0
    cache_written: int = 0


class Reply(Value):
    """One turn of the model. ``kept`` are blocks that mean nothing to us and that its provider wants to see again."""

    text: str
    calls: tuple[Call, ...]
    stop: Stop
    usage: Usage
    model: str
    kept: tuple[dict[str, Any], ...] = ()


class Said(Value):
    """What we say in plain words."""

    text: str


class Result(Value):
    """The answer to one call."""

    id: str
    text: str
    ok: bool


class Results(Value):
    """The answers to all calls of the reply before."""

    results: tuple[Result, ...]


Message = Said | Reply | Results


@dataclass(frozen=True, slots=True)
class ToolSchema:
    """A tool as it is offered: ``parameters`` is a JSON Schema."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prompt:
    """Everything that a model sees: each ``Reply`` with calls is followed by ``Results`` for all of them."""

    system: str
    tools: tuple[ToolSchema, ...]
    messages: tuple[Message, ...]


def with_own_ids(reply: Reply, taken: frozenset[str]) -> Reply:
    """The reply with an id for each of its calls that no other call has: providers refuse a doubled or empty one."""
    seen, calls = set(taken), []
    for call in reply.calls:
        others = (f"{call.id or 'call'}-{n}" for n in count(2))
        id_ = next(one for one in chain([call.id] if call.id else [], others) if one not in seen)
        seen.add(id_)
        calls.append(call.model_copy(update={"id": id_}))
    return reply.model_copy(update={"calls": tuple(calls)})
