"""A model that works tickets on the modelled world: real adapters over real HTTP, and a script for its mind.

The script sees what a model sees, the request on the wire, and answers with a step. Its world has virtual time; the
request is made on a thread with a loop of its own, and takes none of it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import SecretStr

from harness.adapters.models.anthropic_messages import AnthropicModel
from harness.adapters.models.openai_chat import OpenAIModel
from harness.adapters.models.wire import Endpoint
from harness.core.conversation import Prompt, Reply
from harness.ports import Model
from tests.models.endpoint import MODEL, Call
from tests.models.endpoint import Endpoint as Served
from tests.simulation.operations import RULES, Operations

T = TypeVar("T")
KEY = "sk-session-0123456789-never-shown"


class Across:
    """The port ``Model``, asked from a loop in virtual time."""

    def __init__(self, model: Model) -> None:
        self._model, self.name = model, model.name

    async def reply(self, prompt: Prompt) -> Reply:
        return _elsewhere(self._model.reply(prompt))


def _elsewhere(asked: Coroutine[Any, Any, T]) -> T:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(asked)).result()


def model_at(served: Served, provider: str) -> Model:
    endpoint = Endpoint(
        provider=provider, model=MODEL, key=SecretStr(KEY), base_url=served.url(provider), bounds=RULES.models.wire
    )
    return AnthropicModel(endpoint) if provider == "anthropic" else OpenAIModel(endpoint)


def worked_by(operations: Operations, served: Served, provider: str) -> None:
    """From now on this model works the tickets."""
    model = Across(model_at(served, provider))
    operations.harness = replace(operations.harness, agent=provider, model=model)


def briefing(request: dict[str, Any]) -> str:
    """What the model was told first of the ticket."""
    first = next(message for message in request["messages"] if message["role"] == "user")["content"]
    return str(first if isinstance(first, str) else first[0]["text"])


def answers(request: dict[str, Any]) -> list[str]:
    """Every answer of a tool, and every word of the harness after the first, in order."""
    said: list[str] = []
    for message in request["messages"]:
        if message["role"] in ("system", "assistant"):
            continue
        content = message["content"]
        parts = [content] if isinstance(content, str) else [one.get("content") or one.get("text") for one in content]
        said += map(str, parts)
    return said[1:]


def body(answer: str) -> Any:
    """The JSON that a tool gave."""
    found = re.search(r"<data origin=[^>]*>\n(.*)\n</data>", answer, re.DOTALL)
    assert found, answer
    return json.loads(found[1])


def submit(summary: str = "Repaired.") -> Call:
    return Call("submit_change", {"summary": summary, "predicted_effect": "The criteria hold."})
