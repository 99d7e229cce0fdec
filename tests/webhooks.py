"""A receiver of webhooks on loopback, with whatever trouble a test gives it. Keeps what came; touches nothing else."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

SECRET = "whsec_bm90IGEgcmVhbCBzZWNyZXQgb2YgYW55Ym9keQ=="

Deed = int | Literal["reset", "lost", "late"]
"""A status; or the connection is reset before the notice was taken, or after it; or the answer comes too late."""
TAKES = 204


@dataclass
class Inbox:
    """``taken``: the notices that were taken in, as (id, body), in order, again and again where they came again."""

    url: str
    deed: Callable[[int], Deed]
    """What becomes of the n-th request (from 1)."""
    headers: dict[str, str] = field(default_factory=dict)
    """Of every answer."""
    taken: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    requests: int = 0
    unsigned: int = 0
    late_s: float = 0.2
    turn: threading.Lock = field(default_factory=threading.Lock)

    def ids(self) -> list[str]:
        """Each id that was taken in, once, in the order in which it first came."""
        return list(dict.fromkeys(id for id, _ in self.taken))


@contextmanager
def receiving(deed: Callable[[int], Deed] = lambda _: TAKES) -> Iterator[Inbox]:
    """A receiver that serves until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with inbox.turn:
                inbox.requests += 1
                act = inbox.deed(inbox.requests)
                if act in (TAKES, "lost", "late"):
                    self._take(body)
            if act == "late":
                gone.wait(inbox.late_s)
            if act in ("reset", "lost"):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                return
            self.send_response(act if isinstance(act, int) else TAKES)
            for name, value in inbox.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def _take(self, body: bytes) -> None:
            try:
                Webhook(SECRET).verify(body, dict(self.headers))
            except WebhookVerificationError:
                inbox.unsigned += 1
            inbox.taken.append((self.headers["webhook-id"], json.loads(body)))

        def log_message(self, *_: object) -> None: ...

        def handle(self) -> None:
            with suppress(ConnectionError):  # whoever sent it has died, or has given up waiting
                super().handle()

    gone = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    inbox = Inbox(f"http://127.0.0.1:{server.server_port}/hook", deed)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield inbox
    finally:
        gone.set()
        server.shutdown()
        thread.join()
        server.server_close()
