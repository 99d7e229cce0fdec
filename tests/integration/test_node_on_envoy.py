"""Proves on the real Envoy, with real releases, that swapping a node loses no request and that repairs are seen."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest_asyncio

from harness.adapters.envoy import config
from harness.adapters.envoy.routes import EnvoyRoutes
from harness.core.errors import Retryable
from tests.integration.node_world import World, new_world, order, until
from tests.integration.ports import free_ports
from tests.integration.test_node_sandbox import needs_bubblewrap

pytestmark = needs_bubblewrap


class Plane:
    """The world's Envoy."""

    def __init__(self, world: World) -> None:
        self.ports = config.Ports(*free_ports(3))
        home = world.home
        self.routes = EnvoyRoutes(home.envoy, f"http://127.0.0.1:{self.ports.admin}")
        self.routes.prepare()
        self._bootstrap = home.envoy / "bootstrap.json"
        ops = {"n1": str(home.sockets.resolve() / "n1.sock")}
        self._bootstrap.write_text(config.bootstrap(ports=self.ports, xds_dir=home.envoy, ops_sockets=ops))

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(config.command(self._bootstrap), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    async def wait_until_up(self) -> None:
        async with asyncio.timeout(30):
            while True:
                try:
                    if all([await self.routes.applied_version(resource) for resource in config.RESOURCES]):
                        return
                except Retryable:
                    pass
                await asyncio.sleep(0.02)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    with new_world() as made:
        yield made


@pytest_asyncio.fixture
async def plane(world: World) -> AsyncIterator[Plane]:
    made = Plane(world)
    envoy = made.start()
    await made.wait_until_up()
    yield made
    envoy.terminate()
    envoy.wait(timeout=30)


async def test_swaps_under_load_lose_no_request(world: World, plane: Plane) -> None:
    # given a node under steady load, every tenth request slow
    world.repo.version("v0")
    agent = world.agent(routes=plane.routes)
    await agent.resume()
    seen: Counter[str] = Counter()
    stop = asyncio.Event()

    async def load(client: httpx.AsyncClient) -> None:
        number = 0
        async with asyncio.TaskGroup() as requests:
            while not stop.is_set():
                number += 1
                requests.create_task(one(client, number))
                await asyncio.sleep(0.01)

    async def one(client: httpx.AsyncClient, number: int) -> None:
        answer = await client.get("/slow" if number % 10 == 0 else "/v1/who", headers={"x-ratelimit-key": f"k{number}"})
        seen[f"{answer.status_code} {answer.text}"] += 1

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{plane.ports.ingress}", timeout=10) as client:
        await until_answered(client)
        loading = asyncio.create_task(load(client))

        # when its release is swapped four times
        answers = [await agent.obey(order(f"swap-{n}", world.repo.version(f"v{n}"))) for n in range(1, 5)]
        stop.set()
        await loading

        # then every request was answered by some release, and operations reach the last one
        assert all(answer.ok and answer.reason == "" for answer in answers), answers
        assert {key.split()[0] for key in seen} == {"200"}, seen
        assert seen["200 v1"] and seen["200 v4"]
        scraped = await client.get(f"http://127.0.0.1:{plane.ports.ops}/n1/metrics")
        assert scraped.text == "v4"
    assert plane.routes.version("cluster.stable").endswith("swap-4")
    assert len(world.living()) == 1


async def test_a_killed_release_is_out_of_envoy_within_a_second_and_back_under_the_same_key(
    world: World, plane: Plane
) -> None:
    world.repo.version("v0")
    agent = world.agent(routes=plane.routes)
    await agent.resume()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{plane.ports.ingress}", timeout=10) as client:
        await until_answered(client)
        watch = asyncio.create_task(agent.watch())
        out_s: list[float] = []
        while len(out_s) < 3 and not (out_s and out_s[-1] < 1.0):  # a stall of the machine is seen once
            (before,) = plane.routes.endpoints("stable")
            (process,) = world.living().values()
            os.kill(process.pid, signal.SIGKILL)

            out_s.append(await until(lambda before=before: before not in plane.routes.endpoints("stable")))
            await until(lambda: plane.routes.endpoints("stable"))
            (after,) = plane.routes.endpoints("stable")
            await plane.routes.applied("cluster.stable", plane.routes.version("cluster.stable"), 15.0)

        assert out_s[-1] < 1.0, out_s
        assert after.node == before.node and after.socket != before.socket
        assert (await client.get("/v1/who", headers={"x-ratelimit-key": "k"})).text == "v0"
        watch.cancel()


async def test_a_node_comes_up_before_its_data_plane(world: World) -> None:
    world.repo.version("v0")
    plane = Plane(world)

    agent = world.agent(routes=plane.routes)
    await agent.resume()
    envoy = plane.start()
    try:
        await plane.wait_until_up()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{plane.ports.ingress}", timeout=10) as client:
            await until_answered(client)
    finally:
        envoy.terminate()
        envoy.wait(timeout=30)
    assert (await agent.report()).slots["stable"].healthy


async def until_answered(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                if (await client.get("/v1/who", headers={"x-ratelimit-key": "k"})).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.02)
