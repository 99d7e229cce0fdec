"""Runs the service: listens, and on SIGTERM stops without losing a request. The only place with sockets and signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import sys
from pathlib import Path
from typing import NamedTuple

from ratelimiter.api import Api
from ratelimiter.connection import Connection

BACKLOG = 1024
# Requests that clients have sent but that were not read yet when SIGTERM came are given so long to be seen.
SETTLE_S = 0.05
# Shorter than the grace the manifest asks for (5 s), so that the process is never killed in the middle.
STOP_S = 4.0


class UnixAddress(NamedTuple):
    """A socket file; who may connect is decided by the folder it lies in."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


class TcpAddress(NamedTuple):
    """Host and port; port 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Address = UnixAddress | TcpAddress


class AddressInUse(Exception):
    """Somebody answers at the address already. The message names it."""


async def serve(address: Address, api: Api) -> None:
    """Serve until SIGTERM or SIGINT. Raises AddressInUse, or OSError when the address cannot be bound."""
    connections: set[Connection] = set()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await _listen(address, api, connections)
    bound = address if isinstance(address, UnixAddress) else TcpAddress(*server.sockets[0].getsockname()[:2])
    _report("listening", address=str(bound))
    await stop.wait()
    _report("stopping", connections=len(connections))
    await _stop(server, api, connections)
    if isinstance(address, UnixAddress):
        address.path.unlink(missing_ok=True)
    _report("stopped", unanswered=len(connections))


async def _listen(address: Address, api: Api, connections: set[Connection]) -> asyncio.Server:
    loop = asyncio.get_running_loop()

    def connect() -> Connection:
        return Connection(api, connections)

    if isinstance(address, TcpAddress):
        return await loop.create_server(connect, address.host, address.port, backlog=BACKLOG)
    _refuse_if_served(address)
    server = await loop.create_unix_server(connect, str(address.path), backlog=BACKLOG)
    os.chmod(address.path, 0o666)
    return server


def _refuse_if_served(address: UnixAddress) -> None:
    """A socket file that nobody answers is left over, and asyncio replaces it; a live one must not be taken away."""
    if not (address.path.exists() and stat.S_ISSOCK(address.path.stat().st_mode)):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(str(address.path)) == 0:
            raise AddressInUse(f"{address}: another process answers here; stop it or choose another path")


async def _stop(server: asyncio.Server, api: Api, connections: set[Connection]) -> None:
    """Accept nothing new, finish what is in flight, and give up on clients that never finish their request."""
    api.lifecycle.drain()
    server.close()
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + STOP_S
    await asyncio.sleep(SETTLE_S)
    for connection in tuple(connections):
        connection.stop()
    while connections and loop.time() < deadline_s:
        await asyncio.sleep(0.01)
    for connection in tuple(connections):
        connection.abort()


def _report(event: str, **facts: object) -> None:
    print(json.dumps({"event": event, "pid": os.getpid(), **facts}), file=sys.stderr, flush=True)
