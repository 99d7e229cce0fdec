"""Speaks HTTP/1.1 on one connection: reads requests, writes answers in their order. Decides nothing about limits."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import NamedTuple

import httptools

from ratelimiter.api import NO_ROUTE, Api
from ratelimiter.messages import Request, encode, problem_answer
from ratelimiter.problems import BadRequest, BodyTooLarge, HeadTooLarge, Problem

MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 64 * 1024
# The last of so many answers ends its connection, so that clients come to other nodes too; opening one costs about as
# much as a check. A declared tunable (service.yaml).
ANSWERS_PER_CONNECTION = 1000
# After its last answer a connection still swallows input for so long: closing at once would let the system
# throw the answer away along with what the client had already sent.
LINGER_S = 1.0


class Unsent(NamedTuple):
    """An answer in bytes that waits to be written, with what the metrics need to know of it."""

    data: bytes
    route: str
    status: int
    read_at_s: float


class Connection(asyncio.Protocol):
    """One client. Pipelined requests are answered in order and their answers written together."""

    _transport: asyncio.Transport

    def __init__(self, api: Api, open_connections: set[Connection]) -> None:
        self._api = api
        self._open_connections = open_connections
        self._parser = httptools.HttpRequestParser(self)
        self._unsent: list[Unsent] = []
        self._linger: asyncio.TimerHandle | None = None
        self._ending = False
        self._answers_left = ANSWERS_PER_CONNECTION
        self._start_request()

    def _start_request(self) -> None:
        self._in_request = False
        self._in_head = True
        self._head_bytes = 0
        self._target = b""
        self._body: list[bytes] = []
        self._body_bytes = 0

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open_connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_connections.discard(self)
        if self._linger is not None:
            self._linger.cancel()

    def data_received(self, data: bytes) -> None:
        if self._ending:
            return
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._ending = True
        except httptools.HttpParserError as error:
            self._refuse(BadRequest(f"not HTTP/1.1: {error}"))
        if self._in_request and self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(HeadTooLarge(f"at most {MAX_HEAD_BYTES} bytes are read"))
        self._write_answers()

    def pause_writing(self) -> None:
        # A client that does not read its answers gets no further requests read.
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._in_request = True

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"expect" and value.lower() == b"100-continue":
            self._write_answers()  # of the requests before this one
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_headers_complete(self) -> None:
        self._in_head = False

    def on_body(self, part: bytes) -> None:
        self._body_bytes += len(part)
        if self._body_bytes <= MAX_BODY_BYTES:
            self._body.append(part)
        else:
            self._refuse(BodyTooLarge(f"at most {MAX_BODY_BYTES} bytes are read"))

    def on_message_complete(self) -> None:
        if self._ending:
            return
        read_at_s = perf_counter()
        self._answers_left -= 1
        method = self._parser.get_method().decode("ascii")
        path = self._target.partition(b"?")[0].decode("latin-1")
        route, answer = self._api.answer(Request(method, path, b"".join(self._body)))
        self._ending = not self._stays_open()
        data = encode(answer, close=self._ending, head_only=method == "HEAD")
        self._unsent.append(Unsent(data, route, answer.status, read_at_s))
        self._start_request()

    # What the server calls.

    def stop(self) -> None:
        """Close now when no request is in flight; else its answer will be the last one."""
        if not self._in_request:
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection with whatever is in flight."""
        self._transport.abort()

    def _stays_open(self) -> bool:
        return (
            self._answers_left > 0
            and self._parser.get_http_version() == "1.1"
            and self._parser.should_keep_alive()
            and not self._parser.should_upgrade()
            and not self._api.lifecycle.draining
        )

    def _refuse(self, problem: Problem) -> None:
        """Answer a request that is not read to its end; the connection cannot be used any further."""
        if not self._ending:
            self._ending = True
            data = encode(problem_answer(problem), close=True, head_only=False)
            self._unsent.append(Unsent(data, NO_ROUTE, problem.status, perf_counter()))

    def _write_answers(self) -> None:
        if self._unsent:
            self._transport.write(b"".join(answer.data for answer in self._unsent))
            now_s = perf_counter()
            for answer in self._unsent:
                self._api.telemetry.answer_sent(answer.route, answer.status, now_s - answer.read_at_s)
            self._unsent.clear()
        if self._ending and self._linger is None:
            self._transport.write_eof()
            self._linger = asyncio.get_running_loop().call_later(LINGER_S, self._transport.close)
