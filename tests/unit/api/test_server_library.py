"""What the bounds of a connection rely on in uvicorn and no page of it promises: there as long as this passes."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from uvicorn import Config
from uvicorn.protocols.http import httptools_impl
from uvicorn.server import ServerState

from harness.api.connections import Connection

OURS = {"_deadline", "_unbounded_bytes", "_fault"}
OF_A_CONNECTION = ("connections", "cycle", "flow", "loop", "pipeline", "transport")
OF_A_REQUEST = ("disconnected", "message_event", "more_body", "response_complete", "response_started")
GONE = "uvicorn's {where} has no {name} any more, by which harness/api/connections.py bounds a connection: read it anew"


@pytest.mark.parametrize(
    "name", sorted(name for name, own in vars(Connection).items() if inspect.isfunction(own) and name[0] != "_")
)
def test_every_callback_that_is_ours_is_one_that_the_library_calls(name: str) -> None:
    own, given = getattr(Connection, name), getattr(httptools_impl.HttpToolsProtocol, name, None)
    assert given is not None, GONE.format(where="HttpToolsProtocol", name=name)
    wanted, there = inspect.signature(own).parameters, inspect.signature(given).parameters
    assert list(wanted) == list(there), f"uvicorn calls {name} with {list(there)} now, and ours takes {list(wanted)}"


async def test_what_is_read_of_a_connection_and_of_its_request_is_there() -> None:
    async def nothing(scope: object, receive: object, send: object) -> None: ...

    state = ServerState()
    bare = httptools_impl.HttpToolsProtocol(Config(nothing), state, {}, asyncio.get_running_loop())
    for name in OF_A_CONNECTION:
        assert hasattr(bare, name), GONE.format(where="HttpToolsProtocol", name=name)
    for name in OURS:
        assert not hasattr(bare, name), f"uvicorn's HttpToolsProtocol has a {name} of its own now: name ours otherwise"
    assert bare.connections is state.connections, "uvicorn counts connections elsewhere now"

    taken = inspect.signature(httptools_impl.RequestResponseCycle.__init__).parameters
    request = httptools_impl.RequestResponseCycle(**dict.fromkeys([*taken][1:]))  # type: ignore[arg-type]
    for name in OF_A_REQUEST:
        assert hasattr(request, name), GONE.format(where="RequestResponseCycle", name=name)
    assert not request.response_complete and request.more_body
    assert httptools_impl.STATUS_LINE[431].startswith(b"HTTP/1.1 431 ")
    assert "self.pipeline.appendleft(" in inspect.getsource(httptools_impl.HttpToolsProtocol), "the newest was leftmost"
