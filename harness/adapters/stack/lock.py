"""Lets one ``harness up`` or ``harness down`` at a time work on a home. The kernel frees it however its holder ends."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.adapters.stack.home import Home


@contextmanager
def stack_lock(home: Home, say: Callable[[str], None]) -> Iterator[None]:
    """Waits for whoever else starts or stops this stack, and says so once."""
    home.run.mkdir(parents=True, exist_ok=True)
    with (home.run / "stack.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another command is starting or stopping the stack of {home.root}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
