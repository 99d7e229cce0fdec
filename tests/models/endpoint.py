"""A model's endpoint on loopback that speaks both providers' protocols, streamed or not, and plays a script.

It knows only the wire: paths, headers, JSON and server-sent events as the providers document them. A step of the script
is what the model says (``Say``), or trouble: an HTTP status, or a stream that breaks off, stalls, or ends too early.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Literal, Protocol

MODEL = "claude-opus-5"
PIECE_CHARS = 7
"""Texts and arguments are streamed in pieces of this size."""


@dataclass(frozen=True)
class Call:
    """A tool call; ``arguments`` as text goes out as it is."""

    tool: str
    arguments: dict[str, Any] | str = field(default_factory=dict)
    id: str | None = None


@dataclass(frozen=True)
class Say:
    """A turn. ``stop``: how it ends, by our names; ``tokens`` in and out, None for an endpoint that does not count."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    stop: Literal["whole", "cut", "declined"] = "whole"
    tokens: tuple[int, int] | None = (100, 10)
    model: str = MODEL


@dataclass(frozen=True)
class Status:
    """An answer that is an error."""

    code: int
    message: str = "no"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Trouble:
    """After half of ``before``: ``reset`` the connection, send an ``error`` in the stream, ``stall``, ``end``, or send
    what is no JSON (``garbage``)."""

    kind: Literal["reset", "error", "stall", "end", "garbage"]
    before: Say = field(default_factory=lambda: Say("I was going to say", (Call("finish", {"summary": "x"}),)))
    error: str = "overloaded_error"


Step = Say | Status | Trouble
Script = Callable[[dict[str, Any]], Step]


@dataclass
class Endpoint:
    """What was asked so far, and where: ``anthropic`` without /v1, ``openai`` with it."""

    port: int
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def url(self, provider: str) -> str:
        return f"http://127.0.0.1:{self.port}" + ("/v1" if provider == "openai" else "")


def in_turn(steps: Sequence[Step]) -> Script:
    """One step after the other; asking further is an error of the test."""
    left = iter(steps)
    return lambda request: next(left, Status(500, "the script is over"))


def played(script: Script, request: dict[str, Any]) -> Step:
    """The script's step; what it asserts in vain ends the session as a refused request, which is never repeated."""
    try:
        return script(request)
    except (AssertionError, LookupError, TypeError, ValueError) as wrong:
        return Status(400, f"the script: {type(wrong).__name__} {wrong}")


@contextmanager
def serving(script: Script, *, streams: bool = True) -> Iterator[Endpoint]:
    """An endpoint that plays the script; ``streams`` False answers whole whatever is asked for."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                endpoint.requests.append(request)
                endpoint.headers.append({name.lower(): value for name, value in self.headers.items()})
                wire = WIRES.get(self.path)
                problem = wire.problem(request, self.headers) if wire else f"no route {self.path}"
                step = Status(400, problem) if problem else played(script, request)
            if isinstance(step, Status):
                error = {"type": "error", "error": {"type": "error", "message": step.message}}
                self.answer(step.code, error, step.headers)
            elif isinstance(step, Say) and not (streams and request.get("stream")):
                assert wire is not None
                self.answer(200, wire.whole(step), ())
            else:
                assert wire is not None
                self.stream(wire, step)

        def answer(self, code: int, document: Any, headers: Sequence[tuple[str, str]]) -> None:
            body = json.dumps(document).encode()
            self.send_response(code)
            for name, value in (("content-type", "application/json"), ("content-length", str(len(body))), *headers):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def stream(self, wire: Wire, step: Say | Trouble) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            say = step if isinstance(step, Say) else step.before
            events = list(wire.events(say))
            for event in events if isinstance(step, Say) else events[: len(events) // 2]:
                self.chunk(event)
            if isinstance(step, Trouble):
                match step.kind:
                    case "error":
                        self.chunk(wire.error(step.error))
                    case "garbage":
                        self.chunk("event: message_delta\ndata: {not json\n\n")
                    case "stall":
                        endpoint.released.wait(30)
                    case "reset":
                        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        self.connection.close()
                        self.close_connection = True
                        return
            self.wfile.write(b"0\r\n\r\n")

        def chunk(self, text: str) -> None:
            body = text.encode()
            try:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))
                self.wfile.flush()
            except OSError:  # the client went away, as it may
                self.close_connection = True

        def log_message(self, *words: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    endpoint = Endpoint(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class Wire(Protocol):
    """One provider's protocol."""

    def problem(self, request: dict[str, Any], headers: Any) -> str | None:
        """Why the provider would refuse the request."""

    def whole(self, say: Say) -> dict[str, Any]: ...

    def events(self, say: Say) -> Iterator[str]: ...

    def error(self, kind: str) -> str: ...


class Messages:
    """Anthropic."""

    STOPS: ClassVar = {"whole": "end_turn", "cut": "max_tokens", "declined": "refusal"}

    def problem(self, request: dict[str, Any], headers: Any) -> str | None:
        if not ("x-api-key" in headers or "authorization" in headers) or "anthropic-version" not in headers:
            return "a key, or the header anthropic-version, is missing"
        if "max_tokens" not in request:
            return "max_tokens: field required"
        ids: set[str] = set()
        awaited: set[str] = set()
        for message in request["messages"]:
            blocks = message["content"] if isinstance(message["content"], list) else []
            if not message["content"]:
                return "messages: all messages must have non-empty content"
            if any(block["type"] == "text" and not block["text"].strip() for block in blocks):
                return "messages: text content blocks must contain non-whitespace text"
            results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
            if set(results) != awaited or len(results) != len(awaited):
                return f"messages: tool_use ids {sorted(awaited)} need their tool_result in the next message"
            if results and blocks[0]["type"] != "tool_result":
                return "messages: tool_result blocks come first"
            used = [block["id"] for block in blocks if block["type"] == "tool_use"]
            if len({*used} | ids) != len(used) + len(ids):
                return "messages: tool_use ids must be unique"
            if not all(isinstance(block["input"], dict) for block in blocks if block["type"] == "tool_use"):
                return "messages: tool_use.input: should be an object"
            awaited = set(used)
            ids |= awaited
        return "messages: a tool_use has no tool_result" if awaited else None

    def whole(self, say: Say) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": say.text}] if say.text else []
        for n, call in enumerate(say.calls):
            arguments = call.arguments if isinstance(call.arguments, dict) else {}
            content.append({"type": "tool_use", "id": _id(call, n), "name": call.tool, "input": arguments})
        return {
            "id": "msg_1", "type": "message", "role": "assistant", "model": say.model, "content": content,
            "stop_reason": self._stop(say), "stop_sequence": None, "usage": self._usage(say, 1),
        }  # fmt: skip

    def _stop(self, say: Say) -> str:
        return "tool_use" if say.calls and say.stop == "whole" else self.STOPS[say.stop]

    def _usage(self, say: Say, out: int) -> dict[str, int]:
        return {"input_tokens": say.tokens[0], "output_tokens": say.tokens[1] if out else 1} if say.tokens else {}

    def events(self, say: Say) -> Iterator[str]:
        yield _event("message_start", message=self.whole(say) | {
            "content": [], "stop_reason": None, "usage": self._usage(say, 0)
        })  # fmt: skip
        yield _event("ping")
        index = 0
        if say.text:
            yield _event("content_block_start", index=index, content_block={"type": "text", "text": ""})
            for piece in _pieces(say.text):
                yield _event("content_block_delta", index=index, delta={"type": "text_delta", "text": piece})
            yield _event("content_block_stop", index=index)
            index += 1
        for n, call in enumerate(say.calls):
            block = {"type": "tool_use", "id": _id(call, n), "name": call.tool, "input": {}}
            yield _event("content_block_start", index=index, content_block=block)
            for piece in _pieces(_text(call)):
                delta = {"type": "input_json_delta", "partial_json": piece}
                yield _event("content_block_delta", index=index, delta=delta)
            yield _event("content_block_stop", index=index)
            index += 1
        usage = {"output_tokens": say.tokens[1]} if say.tokens else {}
        yield _event("message_delta", delta={"stop_reason": self._stop(say), "stop_sequence": None}, usage=usage)
        yield _event("message_stop")

    def error(self, kind: str) -> str:
        return _event("error", error={"type": kind, "message": "Overloaded"})


class Completions:
    """OpenAI."""

    STOPS: ClassVar = {"whole": "stop", "cut": "length", "declined": "content_filter"}

    def problem(self, request: dict[str, Any], headers: Any) -> str | None:
        if not headers.get("authorization", "").startswith("Bearer "):
            return "header authorization is missing"
        awaited: list[str] = []
        ids: list[str] = []
        for message in request["messages"]:
            if message["role"] == "tool":
                if message["tool_call_id"] not in awaited:
                    return f"messages: no tool call {message['tool_call_id']!r} waits for an answer"
                awaited.remove(message["tool_call_id"])
            elif awaited:
                return f"messages: tool_call_ids {awaited} have no answer"
            if message["role"] == "assistant":
                if not message.get("content") and not message.get("tool_calls"):
                    return "messages: assistant content or tool_calls is required"
                awaited = [call["id"] for call in message.get("tool_calls", [])]
                ids += awaited
                for call in message.get("tool_calls", []):
                    json.loads(call["function"]["arguments"])
        if len(set(ids)) != len(ids):
            return "messages: tool call ids must be unique"
        return f"messages: tool_call_ids {awaited} have no answer" if awaited else None

    def whole(self, say: Say) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": say.text or None}
        if say.calls:
            message["tool_calls"] = [self._call(call, n, _text(call)) for n, call in enumerate(say.calls)]
        choice = {"index": 0, "message": message, "finish_reason": self._stop(say)}
        return self._envelope(say, [choice]) | {"object": "chat.completion", "usage": self._usage(say)}

    def _call(self, call: Call, n: int, arguments: str) -> dict[str, Any]:
        return {"id": _id(call, n), "type": "function", "function": {"name": call.tool, "arguments": arguments}}

    def _stop(self, say: Say) -> str:
        return "tool_calls" if say.calls and say.stop == "whole" else self.STOPS[say.stop]

    def _usage(self, say: Say) -> dict[str, int] | None:
        if say.tokens is None:
            return None
        read, written = say.tokens
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    def _envelope(self, say: Say, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": say.model, "choices": choices,
        }  # fmt: skip

    def _chunk(self, say: Say, delta: dict[str, Any], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return f"data: {json.dumps(self._envelope(say, [choice]))}\n\n"

    def events(self, say: Say) -> Iterator[str]:
        yield self._chunk(say, {"role": "assistant", "content": ""})
        for piece in _pieces(say.text):
            yield self._chunk(say, {"content": piece})
        for n, call in enumerate(say.calls):
            yield self._chunk(say, {"tool_calls": [{"index": n} | self._call(call, n, "")]})
            for piece in _pieces(_text(call)):
                yield self._chunk(say, {"tool_calls": [{"index": n, "function": {"arguments": piece}}]})
        yield self._chunk(say, {}, self._stop(say))
        if say.tokens:
            yield f"data: {json.dumps(self._envelope(say, []) | {'usage': self._usage(say)})}\n\n"
        yield "data: [DONE]\n\n"

    def error(self, kind: str) -> str:
        return f"data: {json.dumps({'error': {'type': kind, 'message': 'Overloaded', 'code': None}})}\n\n"


WIRES: dict[str, Wire] = {"/v1/messages": Messages(), "/v1/chat/completions": Completions()}


def _event(kind: str, **fields: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields)}\n\n"


def _pieces(text: str) -> list[str]:
    return [text[at : at + PIECE_CHARS] for at in range(0, len(text), PIECE_CHARS)]


def _text(call: Call) -> str:
    return call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)


_numbers = iter(range(1, 1_000_000))


def _id(call: Call, n: int) -> str:
    return call.id if call.id is not None else f"call_{next(_numbers)}"
