"""What tests of several folders need once for a session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.postgresql import Postgresql


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A real server, begun when the first test asks for it."""
    from tests.postgresql import server  # Docker's client and testcontainers: not for sessions that don't need them

    with server() as started:
        yield started
