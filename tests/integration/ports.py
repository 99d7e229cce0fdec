"""Free ports for the real parts of a test. Opens nothing that stays.

Not those that the kernel gives away by itself: from its range every outgoing connection takes one, which may happen
before the part has bound it, and a client that asks a port of it where nobody listens may even meet itself.
"""

from __future__ import annotations

import os
import random

from harness.adapters.stack.addresses import is_free

FIRST, LAST = 10_000, 19_999
"""Below the kernel's range (32768 on) and apart from where stacks take theirs (20000 to 29999)."""

_CHANCE = random.Random(os.getpid())


def free_ports(count: int) -> list[int]:
    """So many ports of the loopback on which a server could listen now; sessions side by side choose apart."""
    found: list[int] = []
    while len(found) < count:
        port = _CHANCE.randint(FIRST, LAST)
        if port not in found and is_free(port):
            found.append(port)
    return found


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]
