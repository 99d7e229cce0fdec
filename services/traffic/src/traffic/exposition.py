"""Serves the metrics on the loop that plays; knows no other route. A thread would stall the loop for a GIL interval."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST

_REQUEST_TIMEOUT_S = 5.0


async def serve_metrics(exposition: Callable[[], bytes], *, host: str, port: int) -> asyncio.Server:
    """Answer ``GET /metrics`` with what ``exposition`` gives, one request per connection. Raises OSError."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head, exposition))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked has left, stalled or talks something else: nothing to answer
        finally:
            writer.close()

    return await asyncio.start_server(answer, host, port)


def _response(head: bytes, exposition: Callable[[], bytes]) -> bytes:
    if head.startswith((b"GET /metrics ", b"GET /metrics?")):
        status, content_type, body = "200 OK", CONTENT_TYPE_LATEST, exposition()
    else:
        status, content_type, body = "404 Not Found", "text/plain", b"only GET /metrics is served here\n"
    return (
        f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    ).encode() + body
