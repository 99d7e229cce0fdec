"""How many connections there may be, how long one may take to ask or be idle, and how long a head may be. Serves;
reads no request.

Whoever is over a bound is told so and let go; so is who begins a request, or connects, and goes no further, and who
sends what is no HTTP. How much a body may hold, and how long it may take, says ``harness.api.bounds``.
"""

from __future__ import annotations

import sys
from asyncio import BaseTransport, TimerHandle
from typing import Any, Final, cast

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from harness.api import problems
from harness.core.redaction import Secrets

CONNECTIONS: Final = 512
"""At once: half of what a process may have open where nobody raised that, so that the ledger always can be opened."""
HEAD_WITHIN_S: Final = 10.0
"""From the beginning of a connection, or of its next request, to the end of that one's head."""
HEAD_BYTES: Final = 64 * 1024
"""Of a head, and of whatever else is neither body nor the beginning of a request: what frames a body, or follows it."""
READ_BYTES: Final = 8 * 1024
"""Read at once. Where in these something begins nobody says, so that a head may be longer by as many."""
LINGER_S: Final = 2.0
"""How long what goes on coming is read and thrown away: who is let go while still sending sees no answer otherwise."""
KEPT_OPEN_S: Final = 75
"""An idle connection: longer than the usual pause of an Alertmanager's group, which may send on one as it is closed."""


class Connection(HttpToolsProtocol):
    """One connection, as uvicorn serves it, within bounds."""

    _deadline: TimerHandle | None = None
    _unbounded_bytes = 0
    """That came since a request began, or since the last of its body."""
    _fault: tuple[int, str] | None = None
    """Why nothing more is read: told once all that was asked before is answered."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Somebody connects."""
        super().connection_made(cast(Any, transport))
        if len(self.connections) > CONNECTIONS:
            self._let_go(503, f"{CONNECTIONS} connections are open, as many as are served")
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        """Some bytes came; more of them give a head no more time."""
        given = memoryview(data)
        for start in range(0, len(given), READ_BYTES):
            if self._fault is not None or self.transport.is_closing():
                return
            part = given[start : start + READ_BYTES]
            self._unbounded_bytes += len(part)
            super().data_received(part.tobytes())
            if self._unbounded_bytes > HEAD_BYTES:
                self._refuse(431, f"the head of a request has more than {HEAD_BYTES} bytes")
        if self._fault is None and self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._unbounded_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head of a request is there."""
        self._unbounded_bytes = 0
        self._stop()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of a body came; how much it may be is not said here."""
        self._unbounded_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request ends."""
        self._unbounded_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request is answered."""
        is_last = not self.pipeline
        super().on_response_complete()
        if self._fault is not None and is_last:
            self._tell(*self._fault)

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP; called while the parser's error is handled, which says more than ``msg``."""
        error = sys.exception()
        target = isinstance(error, httptools.HttpParserCallbackError | httptools.HttpParserInvalidURLError)
        reason = "its target is no path" if target else str(error or msg)
        self._refuse(400, f"what came is no request of HTTP/1.1: {reason}")

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        text = f"no whole head of a request came within {HEAD_WITHIN_S:g} s"
        self._deadline = self.loop.call_later(HEAD_WITHIN_S, self._let_go, 408, text)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: int, detail: str) -> None:
        """Read nothing more, and say why: after the answers to all that came whole before."""
        if self._fault is not None or self.transport.is_closing():
            return
        self._stop()
        self._fault = status, detail
        if self.pipeline:
            if self.pipeline[0][0].more_body:  # the newest: its body is what is faulty, so nobody is to begin it
                self.pipeline.popleft()
        elif self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            self._tell(status, detail)

    def _tell(self, status: int, detail: str) -> None:
        """Say it in place of the answer to what did not come whole; close when its sender does, or after a while."""
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            if self.cycle.response_started:
                self.transport.close()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.flow.resume_reading()
        self._write(status, detail)
        self.transport.write_eof()
        self._deadline = self.loop.call_later(LINGER_S, self.transport.close)

    def _let_go(self, status: int, detail: str) -> None:
        if self.transport.is_closing():
            return
        self._write(status, detail, **{"retry-after": "2"})
        self.transport.close()

    def _write(self, status: int, detail: str, **more: str) -> None:
        answer = problems.document(status, detail, Secrets({}), {"connection": "close", **more})
        head = [b"%s: %s\r\n" % pair for pair in answer.raw_headers]
        self.transport.write(b"".join([STATUS_LINE[status], *head, b"\r\n", bytes(answer.body)]))


def server(app: ASGIApp) -> uvicorn.Server:
    """Serves the application, each connection within bounds."""
    return uvicorn.Server(
        uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, loop="uvloop", http=Connection,
            timeout_keep_alive=KEPT_OPEN_S, timeout_graceful_shutdown=3,
        )
    )  # fmt: skip
