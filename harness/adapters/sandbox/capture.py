"""Reads what a sandbox prints, bounded in memory whatever it prints. Knows no sandbox."""

from __future__ import annotations

import asyncio
import os

_HEAD_BYTES = 64 * 1024
_TAIL_BYTES = 192 * 1024


async def capture(stream: asyncio.StreamReader) -> str:
    """All text up to the end; of more than 256 KiB the first 64 and the last 192, with a marker in between."""
    head, tail, left_out = b"", bytearray(), 0
    while chunk := await stream.read(64 * 1024):
        taken = _HEAD_BYTES - len(head)
        head, chunk = head + chunk[:taken], chunk[taken:]
        tail += chunk
        if (excess := len(tail) - _TAIL_BYTES) > 0:
            left_out += excess
            del tail[:excess]
    marker = f"\n… {left_out} bytes left out …\n".encode() if left_out else b""
    return (head + marker + bytes(tail)).decode(errors="replace")


async def read_to_end(descriptor: int) -> bytes:
    """All bytes of a pipe until every writer has closed it; closes the descriptor."""
    reader = asyncio.StreamReader()
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        return await reader.read()
    finally:
        transport.close()
