"""Connections that take their time, and too many of them: each is told why it is let go. Real sockets, as uvicorn
serves them; where something is waited for time runs faster, so that each bound is the one that is in force."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from harness.api.connections import CONNECTIONS, HEAD_BYTES, READ_BYTES, server
from tests.alerts import message
from tests.integration.alert_world import serving
from tests.integration.fast_loop import FastLoop
from tests.unit.api.test_routes import TOKEN, WEBHOOK, Served

SPEED = 40.0
LIVE = b"GET /livez HTTP/1.1\r\nhost: h\r\n\r\n"
HALF = b"GET /livez HTTP/1.1\r\nhost: h\r\nx-a: "
HEAD = f"POST {WEBHOOK} HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n"
Connect = Callable[[], Coroutine[Any, Any, tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


def on_a_server(
    story: Callable[[FastLoop, Connect], Coroutine[Any, Any, None]],
) -> None:
    """Play the story with a loop whose time it may speed up, and a way to connect."""

    async def played() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, FastLoop)
        async with listening() as port:
            await story(loop, lambda: asyncio.open_connection("127.0.0.1", port))

    with asyncio.Runner(loop_factory=FastLoop) as runner:
        runner.run(played())


@asynccontextmanager
async def listening() -> AsyncIterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=8) as listener:
        quick = server(Served().app)
        running = asyncio.create_task(quick.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            quick.should_exit = True
            await running


async def told(reader: asyncio.StreamReader) -> tuple[int, Any]:
    """Status and document of the next answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.split("content-length: ")[1].split("\r\n")[0])
    return int(head.split()[1]), json.loads(await reader.readexactly(length))


def problem(status: int, detail: str) -> dict[str, Any]:
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}


@pytest.mark.parametrize(
    ("asked_before", "begun"), [(False, b""), (False, b"\r\n"), (False, HALF), (True, b"\r\n"), (True, HALF)]
)
def test_a_head_that_does_not_come_has_a_deadline_however_it_trickles(asked_before: bool, begun: bytes) -> None:
    async def story(loop: FastLoop, connect: Connect) -> None:
        # given a connection, new or used before, on which a request begins
        reader, writer = await connect()
        if asked_before:
            writer.write(LIVE)
            assert (await told(reader))[0] == 200
        writer.write(begun)

        # when a byte at a time comes for ever
        async def trickling() -> None:
            while begun and not writer.is_closing():
                writer.write(begun[-1:])
                await asyncio.sleep(1)

        more = asyncio.create_task(trickling())
        loop.speed = SPEED

        # then the sender is told, and nobody waits for more
        assert await told(reader) == (408, problem(408, "no whole head of a request came within 10 s"))
        loop.speed = 1.0
        more.cancel()
        writer.close()

    on_a_server(story)


def test_a_body_that_does_not_come_has_a_deadline() -> None:
    async def story(loop: FastLoop, connect: Connect) -> None:
        # given the head of a message, and a server that waits for its body
        reader, writer = await connect()
        head = f"{HEAD}authorization: Bearer {TOKEN}\r\nexpect: 100-continue\r\ncontent-length: 1000\r\n\r\n"
        writer.write(head.encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"

        async def trickling() -> None:
            while True:
                writer.write(b" ")
                await asyncio.sleep(1)

        more = asyncio.create_task(trickling())
        loop.speed = SPEED
        assert await told(reader) == (408, problem(408, "the body did not arrive within 15 s"))

        # and what goes on coming after the answer holds the connection no longer than a head may
        assert await told(reader) == (408, problem(408, "no whole head of a request came within 10 s"))
        loop.speed = 1.0
        more.cancel()
        writer.close()

    on_a_server(story)


def test_an_idle_connection_is_closed_after_a_while() -> None:
    async def story(loop: FastLoop, connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(LIVE)
        assert (await told(reader))[0] == 200
        began_s = loop.time()
        loop.speed = 5 * SPEED
        assert await reader.read() == b""
        assert loop.time() - began_s >= 75
        loop.speed = 1.0
        writer.close()

    on_a_server(story)


def of_head(size: int) -> bytes:
    """A whole request, with a head of so many bytes."""
    rest = size - len(HALF) - len(b"\r\n\r\n")
    return HALF + b"a" * rest + b"\r\n\r\n"


def post(size: int, chunked: bool = False) -> bytes:
    """A message with a body of so many bytes."""
    body = json.dumps(message()).encode().ljust(size)
    head = f"{HEAD}authorization: Bearer {TOKEN}\r\n"
    if not chunked:
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    parts = [body[start : start + 9] for start in range(0, len(body), 9)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return f"{head}transfer-encoding: chunked\r\n\r\n".encode() + framed + b"0\r\n\r\n"


TOO_LONG = (431, problem(431, f"the head of a request has more than {HEAD_BYTES} bytes"))


@pytest.mark.parametrize(
    "begun",
    [
        HALF,
        b"GET /",
        b"\r\n",
        b"GET /livez HTTP/1.1\r\n" + b"a: b\r\n",
        f"{HEAD}transfer-encoding: chunked\r\n\r\n0\r\nx-after: ".encode(),
        f"{HEAD}transfer-encoding: chunked\r\n\r\n1;x=".encode(),
    ],
)
@pytest.mark.parametrize("asked_before", [False, True])
def test_a_head_that_is_too_long_is_told_so_and_the_rest_is_not_kept(asked_before: bool, begun: bytes) -> None:
    async def story(_: FastLoop, connect: Connect) -> None:
        # given a connection, new or used before, on which something begins that is no body
        reader, writer = await connect()
        if asked_before:
            writer.write(LIVE)
            assert (await told(reader))[0] == 200
        if b"chunked" in begun:  # the one that is asked for its token would be answered before its body is there
            begun_here = begun.replace(b"\r\n\r\n", f"\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode(), 1)
        else:
            begun_here = begun
        writer.write(begun_here)

        # when it goes on and on, then it is told once, and the connection is over
        more = begun[-6:] if begun.endswith(b"\r\n") else b"a"
        writer.write(more * (8 * HEAD_BYTES // len(more)))
        assert await told(reader) == TOO_LONG
        assert await reader.read() == b""
        writer.close()

    on_a_server(story)


def test_the_bound_of_a_head_is_that_of_each_request_however_many_come_on_one_connection() -> None:
    requests = [
        *[of_head(HEAD_BYTES)] * 3, *[LIVE] * 10, post(HEAD_BYTES * 3), post(HEAD_BYTES, chunked=True),
        of_head(HEAD_BYTES), *[post(900)] * 10, LIVE,
    ]  # fmt: skip

    async def story(_: FastLoop, connect: Connect) -> None:
        # given one connection, when one request comes after the other, then each is answered
        reader, writer = await connect()
        for request in requests:
            writer.write(request)
            assert (await told(reader))[0] == 200

        # when all come at once, whatever the pieces in which they are read, then so they are; and what comes last, too
        # long, is told when all others are answered
        writer.write(b"".join([*requests, of_head(HEAD_BYTES + 2 * READ_BYTES)]))
        assert [(await told(reader))[0] for _ in requests] == [200] * len(requests)
        assert await told(reader) == TOO_LONG
        assert await reader.read() == b""
        writer.close()

        # and when they come in pieces of an odd size
        reader, writer = await connect()
        whole = b"".join(requests)
        for start in range(0, len(whole), 4_099):
            writer.write(whole[start : start + 4_099])
            await asyncio.sleep(0)
        assert [(await told(reader))[0] for _ in requests] == [200] * len(requests)
        writer.close()

    on_a_server(story)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"\x16\x03\x01\x02\r\n\r\n", "Invalid method encountered"),
        (b"FOO /livez HTTP/1.1\r\n\r\n", "Invalid method encountered"),
        (b"GET /livez HTTP/9.1\r\n\r\n", "Invalid HTTP version"),
        (b"GET /\xff HTTP/1.1\r\n\r\n", "its target is no path"),
        (b"CONNECT h:1 HTTP/1.1\r\nhost: h\r\n\r\n", "its target is no path"),
        (HEAD.encode() + b"content-length: x\r\n\r\n", "Invalid character in Content-Length"),
        (HEAD.encode() + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", "can't be present with"),
        (HEAD.encode() + b"transfer-encoding: chunked\r\n\r\nzz\r\n", "Invalid character in chunk size"),
    ],
)
@pytest.mark.parametrize("before", [0, 1, 3])
def test_what_is_no_http_is_told_so_as_every_other_error_after_what_was_asked_before(
    before: int, sent: bytes, said: str
) -> None:
    async def story(_: FastLoop, connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(post(2_000) * before + sent)
        assert [(await told(reader))[0] for _ in range(before)] == [200] * before
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ") and b"\r\nconnection: close\r\n" in head
        assert b"\r\ncontent-type: application/problem+json\r\n" in head
        document = json.loads(await reader.read())
        assert document == problem(400, document["detail"]) and said in document["detail"]
        writer.close()

    on_a_server(story)


def test_head_has_no_body_and_the_length_of_the_one_that_get_has() -> None:
    async def story(_: FastLoop, connect: Connect) -> None:
        reader, writer = await connect()
        for path in ("/livez", "/readyz", "/openapi.json", "/none"):
            heads = []
            for method in ("HEAD", "GET"):
                writer.write(f"{method} {path} HTTP/1.1\r\nhost: h\r\n\r\n".encode())
                heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
            length = int(heads[1].split("content-length: ")[1].split("\r\n")[0])
            json.loads(await reader.readexactly(length))
            assert heads[0] == heads[1]
        writer.close()

    on_a_server(story)


def test_one_connection_too_many_is_told_so_and_there_is_room_again_when_one_ends(tmp_path: Path) -> None:
    async def story(port: int, token: str) -> None:
        # given as many connections as there may be, each of which has asked something
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
        for reader, writer in held:
            writer.write(LIVE)
            assert (await told(reader))[0] == 200

        # when one more connects, then it is told, and those that are there go on
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await told(reader) == (503, problem(503, f"{CONNECTIONS} connections are open, as many as are served"))
        assert await reader.read() == b""
        writer.close()
        held[0][1].write(LIVE)
        assert (await told(held[0][0]))[0] == 200

        # and when one of them goes, another has its place
        held[1][1].close()
        await held[1][1].wait_closed()
        body = json.dumps(message()).encode()
        head = f"{HEAD}authorization: Bearer {token}\r\ncontent-length: {len(body)}\r\n\r\n"
        status = 503
        while status == 503:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head.encode() + body)
            status, answer = await told(reader)
            writer.close()
        assert (status, answer["received"]) == (200, 0)
        for _, writer in held:
            writer.close()

    with serving(tmp_path) as served:
        asyncio.run(asyncio.wait_for(story(served.port, served.token), 60))
