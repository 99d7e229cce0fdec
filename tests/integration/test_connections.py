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

from harness.api.connections import CONNECTIONS, server
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
