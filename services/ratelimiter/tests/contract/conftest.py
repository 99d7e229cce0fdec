"""One running service for all contract tests that do not stop it; every test uses keys of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service_process import LIMITS, Client, Service, running


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    with running(LIMITS) as started:
        yield started


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with service.connect() as connection:
        yield connection
