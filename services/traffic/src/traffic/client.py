"""Carries single checks to the limiter over keep-alive connections; judges nothing, counts nothing.

Whatever the peer does, nothing is raised: the listener hears that the flight was lost.

Hand-written on asyncio and httptools because it runs beside what it measures and must cost little: 0.15 ms of CPU per
request, with the judge and the counting.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol, cast

import httptools

_CONNECT_TIMEOUT_S = 2.0


class Flight:
    """One request on its way: which key, due when, sent when (0 = not yet), and whether its outcome is known."""

    __slots__ = ("connection", "done", "due_ns", "key", "sent_ns")

    def __init__(self, key: int, due_ns: int) -> None:
        self.key = key
        self.due_ns = due_ns
        self.sent_ns = 0
        self.done = False
        self.connection: Connection | None = None


class Listener(Protocol):
    """Hears of every flight: ``sent`` at most once, then exactly one of ``answered`` and ``lost``, unless given up."""

    def payload(self, flight: Flight) -> bytes: ...

    def sent(self, flight: Flight) -> None: ...

    def answered(self, flight: Flight, *, status: int, arm: bytes, node: bytes, now_ns: int) -> None: ...

    def lost(self, flight: Flight, *, arm: bytes, now_ns: int) -> None:
        """``arm`` is of an answer that began; empty when none did."""


class Connection(asyncio.Protocol):
    """One keep-alive connection: carries one flight at a time, and goes back to the client after each answer."""

    def __init__(self, client: Client, listener: Listener) -> None:
        self._client = client
        self._listener = listener
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._flight: Flight | None = None
        self._arm = b""
        self._node = b""

    @property
    def arm(self) -> bytes:
        """The arm that the answer under way has named; empty before."""
        return self._arm

    def carry(self, flight: Flight) -> None:
        """Write the request. The time is taken before the write, so the limiter cannot have decided earlier."""
        assert self._transport is not None and self._flight is None
        self._flight = flight
        self._arm = self._node = b""
        flight.connection = self
        flight.sent_ns = time.monotonic_ns()
        self._listener.sent(flight)
        self._transport.write(self._listener.payload(flight))

    def abandon(self) -> None:
        """Close at once and say nothing of the flight, whose user has given up."""
        self._flight = None
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._client.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._flight is None:  # an answer that nobody asked for
            self.abandon()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail()

    def on_header(self, name: bytes, value: bytes) -> None:
        length = len(name)
        if length == 5 and name.lower() == b"x-arm":
            self._arm = value
        elif length == 6 and name.lower() == b"x-node":
            self._node = value

    def on_message_complete(self) -> None:
        flight = self._flight
        if flight is None:
            return
        now_ns = time.monotonic_ns()
        status = self._parser.get_status_code()
        self._flight = None
        if self._parser.should_keep_alive():
            self._client.idle(self)
        else:
            self.abandon()
        self._listener.answered(flight, status=status, arm=self._arm, node=self._node, now_ns=now_ns)

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.closed(self)
        self._fail()

    def _fail(self) -> None:
        flight = self._flight
        self.abandon()
        if flight is not None:
            self._listener.lost(flight, arm=self._arm, now_ns=time.monotonic_ns())


class Client:
    """At most ``max_connections`` connections to one address; idle ones are used again, the latest first."""

    def __init__(self, host: str, port: int, *, listener: Listener, max_connections: int) -> None:
        self._host = host
        self._port = port
        self._listener = listener
        self._max_connections = max_connections
        self._connecting: set[asyncio.Task[None]] = set()
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []

    def send(self, flight: Flight) -> bool:
        """Send now, or as soon as a new connection stands. False: all connections are busy, nothing was sent."""
        if self._idle:
            self._idle.pop().carry(flight)
            return True
        if len(self._open) + len(self._connecting) >= self._max_connections:
            return False
        task = asyncio.get_running_loop().create_task(self._connect(flight))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return True

    def close(self) -> None:
        """Close everything at once; flights in the air are not heard of again."""
        for task in self._connecting:
            task.cancel()
        for connection in tuple(self._open):
            connection.abandon()

    async def _connect(self, flight: Flight) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                _, connection = await loop.create_connection(
                    lambda: Connection(self, self._listener), self._host, self._port
                )
        except OSError:  # refused, reset, out of file descriptors, timed out: all the same to the user
            if not flight.done:
                self._listener.lost(flight, arm=b"", now_ns=time.monotonic_ns())
            return
        if connection not in self._open:  # closed by the peer before it could be used
            if not flight.done:
                self._listener.lost(flight, arm=b"", now_ns=time.monotonic_ns())
        elif flight.done:  # given up while connecting
            self.idle(connection)
        else:
            connection.carry(flight)

    def opened(self, connection: Connection) -> None:
        self._open.add(connection)

    def idle(self, connection: Connection) -> None:
        self._idle.append(connection)

    def closed(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
