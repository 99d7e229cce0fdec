"""The port ``Model`` on Anthropic's Messages API, streamed. Reads the raw events: the SDK's own sum of them completes
JSON that was cut off, and then a call would be done with arguments that nobody gave.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final, cast

from anthropic import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncAnthropic,
    AsyncStream,
    DefaultAsyncHttpxClient,
)  # fmt: skip

from harness.adapters.models.wire import Endpoint, certificates
from harness.core.conversation import Call, Message, Prompt, Reply, Results, Said, Stop, Usage
from harness.core.redaction import REDACTED

_CACHED: Final = {"cache_control": {"type": "ephemeral"}}
_STOPS: Final[dict[str, Stop]] = {
    "refusal": "declined", "max_tokens": "cut", "model_context_window_exceeded": "cut",
}  # fmt: skip
_KEPT: Final = ("thinking", "redacted_thinking")


class AnthropicModel:
    """One model at one endpoint. A client per request: nothing is shared between sessions."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.name = endpoint.model
        # The SDK imports this part of itself at its first use: here it holds up nobody's heartbeat.
        _ = self._client().messages

    def _client(self) -> AsyncAnthropic:
        endpoint = self._endpoint
        return AsyncAnthropic(
            api_key=endpoint.key.get_secret_value(), base_url=endpoint.base_url or "https://api.anthropic.com",
            max_retries=0, timeout=endpoint.timeout(), http_client=DefaultAsyncHttpxClient(verify=certificates()),
        )  # fmt: skip

    async def reply(self, prompt: Prompt) -> Reply:
        """The next turn."""
        endpoint = self._endpoint
        async with self._client() as client, endpoint.bounded():
            try:
                create = cast(Any, client.messages.create)  # our JSON is of the form that its TypedDicts describe
                stream: AsyncStream[Any] = await create(**_request(prompt, endpoint), stream=True)
                message = await self._whole(stream)
            except APIStatusError as error:
                raise endpoint.failure(error.status_code, error.body or error, error.response.headers) from None
            except APITimeoutError:
                raise endpoint.incomplete(f"no answer within {endpoint.bounds.stall_s:g} s") from None
            except APIConnectionError as error:
                raise endpoint.incomplete(f"cannot be reached ({error.__cause__ or error})") from None
            except APIError as error:
                raise endpoint.incomplete(f"its answer cannot be read ({error})") from None
        return self._reply(message)

    async def _whole(self, stream: AsyncStream[Any]) -> dict[str, Any]:
        if stream.response.headers.get("content-type", "").startswith("application/json"):
            message = json.loads(await stream.response.aread())  # an endpoint that does not stream
            if not isinstance(message, dict) or message.get("type") == "error":
                raise self._endpoint.failure(200, message, stream.response.headers)
            return message
        message, blocks, ended = {}, {}, False
        async for event in _events(stream):
            match event.get("type"):
                case "message_start":
                    message = dict(event["message"])
                case "content_block_start":
                    blocks[event["index"]] = dict(event["content_block"]) | {"json": ""}
                case "content_block_delta":
                    _add(blocks.setdefault(event["index"], {"json": ""}), event["delta"])
                case "message_delta":
                    message |= event["delta"]
                    ended = ended or bool(message.get("stop_reason"))  # nothing of the content comes after it
                    message["usage"] = (message.get("usage") or {}) | _known(event.get("usage") or {})
                case "message_stop":
                    ended = True
        if not ended:
            raise self._endpoint.incomplete("the stream ended before the message did")
        return message | {"content": [blocks[index] for index in sorted(blocks)]}

    def _reply(self, message: dict[str, Any]) -> Reply:
        endpoint, content = self._endpoint, message.get("content") or []
        usage = message.get("usage") or {}
        read, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
        fresh = usage.get("input_tokens")
        text = "".join(block.get("text") or "" for block in content if block.get("type") == "text")
        return Reply(
            text=endpoint.clean(text or str((message.get("stop_details") or {}).get("explanation") or "")),
            calls=tuple(self._call(block) for block in content if block.get("type") == "tool_use"),
            stop=_STOPS.get(str(message.get("stop_reason")), "whole"),
            usage=Usage(
                tokens_in=None if fresh is None else fresh + read + written, tokens_out=usage.get("output_tokens"),
                cache_read=read, cache_written=written,
            ),
            model=endpoint.answered_by(message.get("model")),
            kept=tuple(
                json.loads(endpoint.clean(json.dumps({name: block[name] for name in block if name != "json"})))
                for block in content if block.get("type") in _KEPT
            ),
        )  # fmt: skip

    def _call(self, block: dict[str, Any]) -> Call:
        given = block.get("json") or json.dumps(block.get("input") or {})
        return Call(
            id=str(block.get("id") or ""), tool=str(block.get("name") or ""),
            arguments=self._endpoint.arguments(given), given=self._endpoint.clean(given),
        )  # fmt: skip


async def _events(stream: AsyncStream[Any]) -> AsyncIterator[dict[str, Any]]:
    async for event in stream:
        yield event.to_dict()


def _add(block: dict[str, Any], delta: dict[str, Any]) -> None:
    """A piece of a block: text, JSON of arguments, or thoughts with their signature."""
    for name, target in (("text", "text"), ("partial_json", "json"), ("thinking", "thinking")):
        block[target] = block.get(target, "") + (delta.get(name) or "") if name in delta else block.get(target, "")
    if "signature" in delta:
        block["signature"] = delta["signature"]


def _known(usage: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in usage.items() if value is not None}


def _request(prompt: Prompt, endpoint: Endpoint) -> dict[str, Any]:
    messages = [_message(message) for message in prompt.messages]
    if messages:
        messages[-1]["content"][-1] |= _CACHED  # so the next turn finds everything up to here
    return {
        "model": endpoint.model, "max_tokens": endpoint.bounds.output_tokens,
        "system": [{"type": "text", "text": prompt.system} | _CACHED],
        "tools": [
            {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
            for tool in prompt.tools
        ],
        "messages": messages,
    }  # fmt: skip


def _message(message: Message) -> dict[str, Any]:
    match message:
        case Said(text=text):
            return {"role": "user", "content": [{"type": "text", "text": text}]}
        case Results(results=results):
            return {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": one.id, "content": one.text, "is_error": not one.ok}
                    for one in results
                ],
            }
        case Reply(text=text, calls=calls, kept=kept):
            # Its provider refuses a thought that is not as it signed it; one that held a secret is not sent again.
            content = [dict(block) for block in kept if block.get("type") in _KEPT and REDACTED not in str(block)]
            if text.strip() or not calls:  # a message without content, or of spaces alone, is refused
                content.append({"type": "text", "text": text.strip() or "(no answer)"})
            content += [
                {"type": "tool_use", "id": call.id, "name": call.tool, "input": call.arguments or {}} for call in calls
            ]
            return {"role": "assistant", "content": content}
