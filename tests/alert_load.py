"""A sender that is faster than the server: bodies over kept connections, as fast as they are taken.

Plain streams: a client library takes more of the processor for a request than the server does.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Outcome:
    """Statuses by number, and seconds to each answer."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    took_s: float = 0.0


async def post(
    url: str,
    token: str,
    bodies: Sequence[bytes],
    *,
    connections: int = 16,
    method: str = "POST",
) -> Outcome:
    """Send all bodies, each once."""
    parts = urlsplit(url)
    head = (
        f"{method} {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\nauthorization: Bearer {token}\r\n"
        "content-type: application/json\r\ncontent-length: "
    ).encode()
    outcome, turn, began_s = Outcome(), iter(bodies), time.monotonic()

    async def one() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for body in turn:
            sent_s = time.monotonic()
            writer.write(head + b"%d\r\n\r\n" % len(body) + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            outcome.statuses[int(answer[9:12])] += 1
            outcome.seconds.append(time.monotonic() - sent_s)
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    outcome.took_s = time.monotonic() - began_s
    return outcome
