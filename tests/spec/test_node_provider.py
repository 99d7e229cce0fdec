"""What a provider of nodes promises, kept by the machines of the local stack and by their double in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.adapters.declarations import load_manifest
from harness.adapters.stack.home import Home
from harness.adapters.stack.machines import LocalMachines
from harness.bootstrap import CHECKOUT
from harness.core.errors import Forbidden, Invalid
from harness.ports import NodeProvider
from harness.simulation.clock import run
from harness.simulation.world import World

Story = Callable[[NodeProvider], None]


@pytest.fixture(params=["local", "memory"])
def tell(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Story], None]:
    """Runs a story on a provider of a fresh fleet of three."""

    def on_local(story: Story) -> None:
        machines = LocalMachines(Home(tmp_path))
        machines.prepare()
        story(machines)

    def in_memory(story: Story) -> None:
        async def in_virtual_time() -> None:
            story(World(load_manifest(CHECKOUT / "services" / "ratelimiter" / "service.yaml")).provider)
            await asyncio.sleep(0)

        run(in_virtual_time())

    return on_local if request.param == "local" else in_memory


def test_a_key_starts_one_node_and_shows_which(tell: Callable[[Story], None]) -> None:
    def story(provider: NodeProvider) -> None:
        assert provider.nodes() == ("n1", "n2", "n3") and provider.observe("INF-1/1/unit-1") is None
        assert provider.start("INF-1/1/unit-1") == provider.start("INF-1/1/unit-1") == "n4"
        assert provider.observe("INF-1/1/unit-1") == "n4" and provider.nodes() == ("n1", "n2", "n3", "n4")
        assert provider.start("INF-1/1/unit-2") == "n5"

    tell(story)


def test_a_node_that_is_gone_stays_gone_and_its_name_is_not_given_again(tell: Callable[[Story], None]) -> None:
    def story(provider: NodeProvider) -> None:
        provider.start("a")
        provider.remove("n4", "b")
        provider.remove("n4", "b")
        assert provider.nodes() == ("n1", "n2", "n3")
        assert provider.observe("b") == provider.observe("a") == "n4"
        assert provider.start("a") == "n4" and provider.nodes() == ("n1", "n2", "n3")
        assert provider.start("c") == "n5"

    tell(story)


def test_what_is_not_there_cannot_be_removed(tell: Callable[[Story], None]) -> None:
    def story(provider: NodeProvider) -> None:
        with pytest.raises(Invalid, match="node n9 is not in the fleet"):
            provider.remove("n9", "a")
        assert provider.observe("a") is None

    tell(story)


def test_there_is_an_end_to_the_places(tell: Callable[[Story], None]) -> None:
    def story(provider: NodeProvider) -> None:
        with pytest.raises(Forbidden, match=r"node n1[0-9]"):
            for number in range(20):
                provider.start(str(number))
        assert len(provider.nodes()) < 15

    tell(story)


def test_a_home_keeps_its_fleet_and_gets_new_places_when_it_is_laid_out_anew(tmp_path: Path) -> None:
    told: list[tuple[str, ...]] = []
    machines = LocalMachines(Home(tmp_path), changed=told.append)
    assert machines.prepare()[-1] == "n11"
    machines.remove("n2", "a")
    machines.start("b")
    assert told == [("n1", "n3"), ("n1", "n3", "n4")]
    assert machines.prepare()[-1] == "n12" and machines.nodes() == ("n1", "n3", "n4")


def test_a_name_is_not_given_again_after_another_hand_took_its_record_away(tmp_path: Path) -> None:
    # given a node whose machine vanished without a word
    home = Home(tmp_path)
    machines = LocalMachines(home)
    machines.prepare()
    machines.start("a")
    (home.machines / "n4.json").unlink()
    # then it is no part of the fleet, and the next one has another name
    assert machines.nodes() == ("n1", "n2", "n3") and machines.start("b") == "n5"
