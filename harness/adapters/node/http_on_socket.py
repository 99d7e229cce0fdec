"""Asks a release one thing over its Unix socket, or whether one listens at all. Decides nothing about the answer.

By hand and not by httpx: it is asked every 20 ms while a release starts, needs no TLS, and one line of the answer.
"""

from __future__ import annotations

import asyncio
import socket as sockets
from pathlib import Path

_HEADERS = "Host: release\r\nContent-Length: 0\r\nConnection: close\r\n"


def is_dead(socket: str) -> bool:
    """Whether nobody can answer there any more: there is no listener. One that is busy or hangs is not dead."""
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as attempt:
        attempt.setblocking(False)
        try:
            attempt.connect(socket)
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:  # its queue is full
            return False
    return False


async def status_of(method: str, socket: Path, route: str, timeout_s: float) -> int | None:
    """The status code of the answer; None when there is none within ``timeout_s`` seconds."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(f"{method} {route} HTTP/1.1\r\n{_HEADERS}\r\n".encode())
                await writer.drain()
                words = (await reader.readline()).split()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):  # ValueError: a line without end
        return None
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() else None
