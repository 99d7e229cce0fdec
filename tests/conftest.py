"""What tests of several folders need once for a session, and how properties are tried: without a time limit, as no
property here is about time.

Hypothesis' default is 200 ms for an example, by the clock on the wall: a stall of the machine would fail a property
that holds. The session's own limit still ends what hangs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.postgresql import Postgresql

settings.register_profile("harness", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("harness")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A real server, begun when the first test asks for it."""
    from tests.postgresql import server  # Docker's client and testcontainers: not for sessions that don't need them

    with server() as started:
        yield started
