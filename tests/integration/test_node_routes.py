"""The routes that nodes write to, one contract for both: Envoy's files, and their double in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.adapters.envoy.routes import EnvoyRoutes
from harness.adapters.node.routes import Routes
from harness.core.errors import Forbidden
from harness.simulation.routes import MemoryRoutes


class Both:
    """Routes, and a way to see their members."""

    def __init__(self, routes: EnvoyRoutes | MemoryRoutes) -> None:
        self.write: Routes = routes
        self._routes = routes

    def members(self, cluster: str) -> dict[tuple[str, str], str]:
        if isinstance(self._routes, MemoryRoutes):
            return dict(self._routes.members[cluster])
        return {(member.node, member.socket): member.state for member in self._routes.endpoints(cluster)}


@pytest.fixture(params=["envoy", "memory"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Both]:
    if request.param == "memory":
        yield Both(MemoryRoutes())
        return
    routes = EnvoyRoutes(tmp_path, "http://127.0.0.1:1")
    routes.prepare()
    yield Both(routes)


def test_a_swap_drains_the_others_of_its_node_and_only_those(both: Both) -> None:
    both.write.put("stable", "n1", "/old.sock", "HEALTHY", 1, "k")
    both.write.put("stable", "n2", "/other.sock", "HEALTHY", 1, "k")

    both.write.swap("stable", "n1", "/new.sock", 1, "k")

    assert both.members("stable") == {
        ("n1", "/old.sock"): "DRAINING", ("n1", "/new.sock"): "HEALTHY", ("n2", "/other.sock"): "HEALTHY",
    }  # fmt: skip
    assert both.members("canary") == {}
    assert both.write.sockets("stable") == {"/old.sock": "n1", "/new.sock": "n1", "/other.sock": "n2"}


def test_writing_what_holds_already_changes_no_version(both: Both) -> None:
    first = both.write.swap("stable", "n1", "/new.sock", 1, "k")
    assert both.write.swap("stable", "n1", "/new.sock", 1, "other") == first
    assert both.write.remove("stable", "n1", "/nowhere.sock", 1, "other") == first
    assert both.write.remove("stable", "n1", "/new.sock", 1, "gone") != first
    assert both.members("stable") == {}


def test_versions_count_up_and_carry_token_and_note(both: Both) -> None:
    assert both.write.swap("stable", "n1", "/a.sock", 7, "k1") == "000000000007.1.k1"
    assert both.write.swap("stable", "n1", "/b.sock", 7, "k2") == "000000000007.2.k2"


def test_an_older_token_is_refused_even_when_the_newer_one_had_nothing_to_change(both: Both) -> None:
    both.write.remove("stable", "n1", "/nowhere.sock", 8, "k8")

    assert both.write.highest_token("stable") == 8
    assert both.write.highest_token("canary") == 0
    with pytest.raises(Forbidden, match="token 7 is older than 8"):
        both.write.put("stable", "n1", "/a.sock", "HEALTHY", 7, "k7")
