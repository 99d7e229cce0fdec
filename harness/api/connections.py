"""How many connections there may be, and how long one may take to ask or be idle. Serves; reads no request.

Whoever is over the bound is told so and let go; so is who begins a request, or connects, and goes no further. How long
a body may take says ``harness.api.bounds``.
"""

from __future__ import annotations

from asyncio import BaseTransport, TimerHandle
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from harness.api import problems
from harness.core.redaction import Secrets

CONNECTIONS: Final = 512
"""At once: half of what a process may have open where nobody raised that, so that the ledger always can be opened."""
HEAD_WITHIN_S: Final = 10.0
"""From the beginning of a connection, or of its next request, to the end of that one's head."""
KEPT_OPEN_S: Final = 75
"""An idle connection: longer than the usual pause of an Alertmanager's group, which may send on one as it is closed."""


class Connection(HttpToolsProtocol):
    """One connection, as uvicorn serves it, within bounds."""

    _deadline: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """Somebody connects."""
        super().connection_made(cast(Any, transport))
        if len(self.connections) > CONNECTIONS:
            self._let_go(503, f"{CONNECTIONS} connections are open, as many as are served")
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        """Some bytes came; more of them give a head no more time."""
        super().data_received(data)
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()

    def on_headers_complete(self) -> None:
        """The head of a request is there."""
        self._stop()
        super().on_headers_complete()

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

    def _let_go(self, status: int, detail: str) -> None:
        if self.transport.is_closing():
            return
        answer = problems.document(status, detail, Secrets({}), {"connection": "close", "retry-after": "2"})
        head = [b"%s: %s\r\n" % pair for pair in answer.raw_headers]
        self.transport.write(b"".join([STATUS_LINE[status], *head, b"\r\n", bytes(answer.body)]))
        self.transport.close()


def server(app: ASGIApp) -> uvicorn.Server:
    """Serves the application, each connection within bounds."""
    return uvicorn.Server(
        uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, loop="uvloop", http=Connection,
            timeout_keep_alive=KEPT_OPEN_S, timeout_graceful_shutdown=3,
        )
    )  # fmt: skip
