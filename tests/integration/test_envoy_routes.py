"""Proves on the real Envoy that what is written is what happens: keys, arms, swaps, versions. Loopback only."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from harness.adapters.envoy import config
from harness.adapters.envoy.router import EnvoyRouter
from harness.adapters.envoy.routes import EnvoyRoutes
from harness.core.errors import Retryable
from tests.integration.ports import free_ports
from traffic.player import TIMEOUT_NS

RECORDER = Path(__file__).parents[2] / "scenarios" / "envoy_versions.py"
APPLIED_WITHIN_S = 1.0
HANGS_AFTER_S = 15.0
EARLY_S = 0.05
"""Envoy counts from the beginning of its loop's turn, a little before it saw the request: 0.7 ms were measured."""
TRIES = 3
"""A stall of the machine is seen once, slowness every time."""
KEYS = [f"key-{number}" for number in range(1000)]


class Release:
    """A tiny HTTP/1.1 server on a Unix socket. It names itself, and forges the arm and the node that served.

    It answers after ``delay_s`` seconds, and not before ``may_answer`` is set.
    """

    def __init__(self, path: Path, delay_s: float = 0.0) -> None:
        self.socket = str(path)
        self.delay_s = delay_s
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def start(self) -> Release:
        self._server = await asyncio.start_unix_server(self._serve, self.socket)
        return self

    async def stop(self) -> None:
        """Refuse new connections and cut the open ones, as a killed process would."""
        self._server.close()
        Path(self.socket).unlink()
        for writer in self._connections.values():
            writer.close()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        task.add_done_callback(self._connections.pop)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = head.split(b" ", 2)[1]
                await asyncio.sleep(self.delay_s)
                await self.may_answer.wait()
                body = self.socket.encode() + b" " + target
                writer.write(
                    b"HTTP/1.1 200 OK\r\nx-arm: forged\r\nx-node: forged\r\n"
                    b"content-length: %d\r\n\r\n%s" % (len(body), body)
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@dataclass(frozen=True)
class Answer:
    status: int
    arms: list[str]
    nodes: list[str]
    body: str

    @property
    def arm(self) -> str:
        return self.arms[0] if self.arms else "none"

    @property
    def release(self) -> str:
        return self.body.split(" ")[0]


def ask_all(port: int, keys: Iterable[str | None], path: str = "/v1/check") -> list[Answer]:
    """One request per key, one after the other on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    answers = []
    for key in keys:
        connection.request("GET", path, headers={} if key is None else {config.KEY_HEADER: key})
        response = connection.getresponse()
        arms, nodes = (response.msg.get_all(name) or [] for name in ("x-arm", "x-node"))
        answers.append(Answer(response.status, arms, nodes, response.read().decode()))
    connection.close()
    return answers


@dataclass
class Plane:
    """One Envoy of its own, and the releases behind it."""

    folder: Path
    ports: config.Ports
    routes: EnvoyRoutes
    releases: list[Release] = field(default_factory=list)

    async def release(self, name: str, delay_s: float = 0.0) -> Release:
        release = await Release(self.folder / f"{name}.sock", delay_s).start()
        self.releases.append(release)
        return release

    async def in_force(self, resource: str, version: str) -> None:
        await self.routes.applied(resource, version, HANGS_AFTER_S)

    async def serve(self, cluster: str, *nodes: str) -> list[Release]:
        """One release per node, in force in ``cluster``."""
        releases = [await self.release(f"{cluster}-{node}") for node in nodes]
        for node, release in zip(nodes, releases, strict=True):
            version = self.routes.put(cluster, node, release.socket, "HEALTHY", 1, "start")
        await self.in_force(config.endpoints_of(cluster), version)
        return releases

    async def weigh(self, canary: int, baseline: int) -> None:
        version = self.routes.set_weights({"canary": canary, "baseline": baseline}, 1, "step")
        await self.in_force(config.ROUTES, version)

    async def ask(self, keys: Iterable[str | None]) -> list[Answer]:
        return await asyncio.to_thread(ask_all, self.ports.ingress, list(keys))

    async def arms(self) -> dict[str, str]:
        return {key: answer.arm for key, answer in zip(KEYS, await self.ask(KEYS), strict=True)}

    async def serving(self) -> dict[str, str]:
        return {key: answer.release for key, answer in zip(KEYS, await self.ask(KEYS), strict=True)}


async def until(fact: Callable[[], Awaitable[bool]], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not await fact():
        assert time.monotonic() < deadline, "not so in time"
        await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def plane() -> AsyncIterator[Plane]:
    with tempfile.TemporaryDirectory(prefix="h-") as name:
        folder = Path(name)
        ports = config.Ports(*free_ports(3))
        routes = EnvoyRoutes(folder / "xds", f"http://127.0.0.1:{ports.admin}")
        routes.prepare()
        ops = {"n1": str(folder / "n1.sock")}
        bootstrap = folder / "envoy.json"
        bootstrap.write_text(config.bootstrap(ports=ports, xds_dir=folder / "xds", ops_sockets=ops))
        with (folder / "envoy.log").open("wb") as log:
            envoy = subprocess.Popen(config.command(bootstrap), stdout=log, stderr=log)
        plane = Plane(folder, ports, routes)

        async def started() -> bool:
            assert envoy.poll() is None, (folder / "envoy.log").read_text()
            try:
                return all([await routes.applied_version(resource) for resource in config.RESOURCES])
            except Retryable:
                return False

        try:
            await until(started)
            yield plane
        finally:
            envoy.terminate()
            envoy.wait(timeout=30)
            for release in plane.releases:
                if Path(release.socket).exists():
                    await release.stop()


async def test_every_resource_starts_at_its_prepared_version(plane: Plane) -> None:
    for resource in config.RESOURCES:
        assert await plane.routes.applied_version(resource) == plane.routes.version(resource) == "000000000000.0.start"
    assert plane.routes.weights() == {"canary": 0, "stable": 1000, "baseline": 0}


async def test_a_larger_step_only_adds_keys_to_an_arm(plane: Plane) -> None:
    # given one release per arm
    for arm in config.ARMS:
        await plane.serve(arm, "n1")

    # when the shares grow from 0 to 10 % to 20 %
    steps = []
    for share in (0, 100, 200):
        await plane.weigh(share, share)
        steps.append(await plane.arms())

    # then each arm has about its share of the keys, and keeps the keys that it had
    none, ten, twenty = steps
    assert set(none.values()) == {"stable"}
    for arm in ("canary", "baseline"):
        before = {key for key, served_by in ten.items() if served_by == arm}
        after = {key for key, served_by in twenty.items() if served_by == arm}
        assert 70 <= len(before) <= 130
        assert 160 <= len(after) <= 240
        assert before < after


async def test_a_release_cannot_sign_as_another_arm(plane: Plane) -> None:
    [release] = await plane.serve("stable", "n1")

    [answer] = await plane.ask(["some-key"])

    assert (answer.status, answer.arms, answer.nodes) == (200, ["stable"], [release.socket])


async def test_requests_without_a_key_are_spread(plane: Plane) -> None:
    for arm in config.ARMS:
        await plane.serve(arm, "n1")
    await plane.weigh(300, 300)

    answers = await plane.ask([None] * 200)

    assert {answer.status for answer in answers} == {200}
    assert {answer.arm for answer in answers} == set(config.ARMS)


async def test_a_request_that_an_arm_never_answers_fails_under_its_name_before_the_user_leaves(plane: Plane) -> None:
    # given a canary that takes requests and answers none
    await plane.serve("stable", "n1")
    silent = await plane.release("silent", delay_s=4)
    version = plane.routes.put("canary", "n1", silent.socket, "HEALTHY", 1, "join")
    await plane.in_force("cluster.canary", version)
    await plane.weigh(1000, 0)

    # when a user asks it, who will not wait for longer than users do
    asked_s = time.monotonic()
    [answer] = await plane.ask(KEYS[:1])

    # then the failure is the canary's, which is judged by it: whoever just left would be counted under no arm
    assert (answer.status, answer.arms) == (504, ["canary"])
    waited_s, leaves_after_s = time.monotonic() - asked_s, TIMEOUT_NS / 1e9
    assert leaves_after_s > config.ANSWER_WITHIN_S
    assert waited_s > config.ANSWER_WITHIN_S - EARLY_S


async def test_an_arm_without_releases_answers_503_under_its_own_name(plane: Plane) -> None:
    [answer] = await plane.ask(["some-key"])

    assert (answer.status, answer.arms) == (503, ["stable"])


async def test_a_swap_on_one_of_three_nodes_moves_no_key(plane: Plane) -> None:
    # given three nodes, each with a fair share of the keys
    old = await plane.serve("stable", "n1", "n2", "n3")
    before = await plane.serving()
    assert all(250 <= count <= 420 for count in Counter(before.values()).values())

    # when n2 swaps its release, the old one draining, and then gone
    fresh = await plane.release("fresh")
    version = plane.routes.swap("stable", "n2", fresh.socket, 1, "swap")
    await plane.in_force("cluster.stable", version)
    draining = await plane.serving()
    version = plane.routes.remove("stable", "n2", old[1].socket, 1, "drained")
    await plane.in_force("cluster.stable", version)
    after = await plane.serving()

    # then n2's keys are with the new release and all others are where they were
    expected = {key: fresh.socket if was == old[1].socket else was for key, was in before.items()}
    assert draining == expected
    assert after == expected


async def test_a_drained_swap_loses_no_request(plane: Plane, record_property: Callable[[str, object], None]) -> None:
    # given a node whose requests take 30 ms, under 200 requests a second
    releases = [await plane.release("r0", delay_s=0.03)]
    version = plane.routes.put("stable", "n1", releases[0].socket, "HEALTHY", 1, "start")
    await plane.in_force("cluster.stable", version)
    over = asyncio.Event()
    load = asyncio.create_task(steady_load(plane.ports.ingress, requests_per_s=200, until=over))

    # when its release is swapped thirty times: new in, old draining until it is idle, old out, old killed
    started = time.monotonic()
    for number in range(1, 31):
        old, fresh = releases[-1], await plane.release(f"r{number}", delay_s=0.03)
        releases.append(fresh)
        version = plane.routes.swap("stable", "n1", fresh.socket, 1, f"swap-{number}")
        await plane.in_force("cluster.stable", version)

        async def idle(socket: str = old.socket) -> bool:
            return await plane.routes.active_requests("stable", socket) == 0

        await until(idle)
        version = plane.routes.remove("stable", "n1", old.socket, 1, f"drained-{number}")
        await plane.in_force("cluster.stable", version)
        await old.stop()
    swap_s = (time.monotonic() - started) / 30
    over.set()
    statuses = await load

    # then every request was answered
    record_property("swap_s", round(swap_s, 3))
    record_property("requests", statuses.total())
    assert set(statuses) == {200}, statuses
    assert statuses.total() >= 200


async def steady_load(port: int, requests_per_s: int, until: asyncio.Event) -> Counter[int]:
    """Open model: each request starts at its own time, whatever became of those before it."""

    async def one(number: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-ratelimit-key: k%d\r\n\r\n" % number)
        head = await reader.read()
        writer.close()
        return int(head.split(b" ", 2)[1])

    requests = []
    begin = time.monotonic()
    while not until.is_set():
        requests.append(asyncio.create_task(one(len(requests))))
        await asyncio.sleep(max(0.0, begin + len(requests) / requests_per_s - time.monotonic()))
    return Counter(await asyncio.gather(*requests))


async def test_requests_in_flight_are_counted_per_release(plane: Plane) -> None:
    busy = await plane.release("busy")
    version = plane.routes.put("stable", "n1", busy.socket, "HEALTHY", 1, "start")
    await plane.in_force("cluster.stable", version)

    async def counted(number: int) -> bool:
        return await plane.routes.active_requests("stable", busy.socket) == number

    seen, tries = False, 0
    while not seen and tries < TRIES:  # Envoy gives an answer ANSWER_WITHIN_S, and a stall may take as long, once
        # when three requests are under way, and are held until they were counted
        tries += 1
        busy.may_answer.clear()
        asked = [asyncio.create_task(plane.ask(["some-key"])) for _ in range(3)]
        while not seen and not all(one.done() for one in asked):
            seen = await counted(3)
        busy.may_answer.set()
        await asyncio.gather(*asked)

    # then they are counted, and no longer once they were answered
    assert seen
    await until(lambda: counted(0))
    assert await plane.routes.active_requests("stable", "/no/such.sock") is None


async def test_a_draining_release_is_not_among_the_healthy(plane: Plane) -> None:
    first, second = await plane.serve("stable", "n1", "n2")

    version = plane.routes.put("stable", "n1", first.socket, "DRAINING", 1, "drain")
    await plane.in_force("cluster.stable", version)

    assert await plane.routes.healthy("stable") == (second.socket,)
    assert {answer.release for answer in await plane.ask(KEYS[:50])} == {second.socket}


async def test_the_last_release_of_an_arm_drains_too(plane: Plane) -> None:
    [only] = await plane.serve("stable", "n1")

    version = plane.routes.put("stable", "n1", only.socket, "DRAINING", 1, "drain")
    await plane.in_force("cluster.stable", version)

    assert {answer.status for answer in await plane.ask(KEYS[:5])} == {503}


async def test_a_weight_is_in_force_within_a_second_and_says_which(
    plane: Plane, record_property: Callable[[str, object], None]
) -> None:
    took_s: list[float] = []
    while len(took_s) < TRIES and not (took_s and took_s[-1] < APPLIED_WITHIN_S):
        share, number = 100 + len(took_s), len(took_s) + 1
        started = time.monotonic()
        version = plane.routes.set_weights({"canary": share, "baseline": share}, 5, f"INF-1/1/canary/{number}")

        seen = await plane.routes.applied(config.ROUTES, version, HANGS_AFTER_S)

        took_s.append(time.monotonic() - started)
        assert seen == version == f"000000000005.{number}.INF-1/1/canary/{number}"
    record_property("applied_s", round(took_s[-1], 3))
    assert took_s[-1] < APPLIED_WITHIN_S, took_s


async def test_the_router_returns_once_the_shares_hold(plane: Plane) -> None:
    version = await EnvoyRouter(plane.routes).set_weights({"canary": 0.1, "baseline": 0.1}, 5, "step")

    assert version == await plane.routes.applied_version(config.ROUTES) == "000000000005.1.step"
    assert plane.routes.weights() == {"canary": 100, "stable": 800, "baseline": 100}


async def test_the_recorder_of_versions_sees_each_effect_once(plane: Plane) -> None:
    # given a recorder that runs beside, and knows nothing of the harness
    out = plane.folder / "versions.jsonl"
    recorder = await asyncio.create_subprocess_exec(
        *(sys.executable, RECORDER, "--admin", f"http://127.0.0.1:{plane.ports.admin}"),
        *("--out", out, "--seconds", "4", "--every-ms", "10"),
        stdout=subprocess.PIPE,
    )

    async def recorded(count: int) -> bool:
        return out.exists() and len(out.read_text().splitlines()) == count

    await until(lambda: recorded(len(config.RESOURCES)))

    # when one effect is made, and then made again
    for _ in range(2):
        await plane.weigh(100, 100)
    told, _ = await recorder.communicate()

    # then it stands there once
    entries = [json.loads(line) for line in out.read_text().splitlines()]
    assert [entry["version"] for entry in entries if entry["resource"] == config.ROUTES] == [
        "000000000000.0.start",
        "000000000001.1.step",
    ]
    assert recorder.returncode == 0
    assert json.loads(told)["polls_missed"] <= 1  # one that was under way in a stall of the machine


async def test_a_version_that_a_later_write_overtook_counts_as_applied(plane: Plane) -> None:
    first = plane.routes.put("stable", "n1", str(plane.folder / "a.sock"), "HEALTHY", 1, "first")
    second = plane.routes.put("stable", "n2", str(plane.folder / "b.sock"), "HEALTHY", 1, "second")
    await plane.in_force("cluster.stable", second)

    assert await plane.routes.applied("cluster.stable", first, 0.0) == second


async def test_a_mistyped_field_is_refused_and_changes_nothing(plane: Plane) -> None:
    # given a cluster that serves
    [release] = await plane.serve("stable", "n1")
    file = Path(config.resource_file(plane.folder / "xds", "cluster.stable"))
    mistyped = json.loads(file.read_text().replace('"lb_endpoints"', '"lb_endpoint"'))

    # when the same resource comes with a field mistyped
    beside = plane.folder / "beside.json"
    beside.write_text(json.dumps({**mistyped, "version_info": "000000000001.9.typo"}))
    beside.rename(file)

    async def refused() -> bool:
        with pytest.raises(Retryable) as told:
            await plane.routes.applied("cluster.stable", "000000000001.9.typo", 0.0)
        return "refused 0 " not in str(told.value)

    # then Envoy says no, keeps the version it had, and goes on serving
    await until(refused)
    with pytest.raises(Retryable, match=r"cluster\.stable: wanted 0+1\.9\.typo, seen 0+1\.1\.start .* refused 1 "):
        await plane.routes.applied("cluster.stable", "000000000001.9.typo", 0.1)
    assert {answer.status for answer in await plane.ask(KEYS[:5])} == {200}
    assert await plane.routes.healthy("stable") == (release.socket,)


async def test_a_dead_release_that_is_taken_out_leaves_its_keys_to_the_others(plane: Plane) -> None:
    first, second = await plane.serve("stable", "n1", "n2")
    before = await plane.serving()
    await first.stop()

    version = plane.routes.remove("stable", "n1", first.socket, 1, "dead")
    await plane.in_force("cluster.stable", version)

    assert {before[key] for key in KEYS} == {first.socket, second.socket}
    assert set((await plane.serving()).values()) == {second.socket}


async def test_scrapes_go_to_the_release_that_the_nodes_symlink_names(plane: Plane) -> None:
    # given a node whose stable socket is the symlink that Envoy knows
    door = plane.folder / "n1.sock"
    old, fresh = await plane.release("old"), await plane.release("new")
    door.symlink_to(old.socket)

    async def scraped() -> str:
        [answer] = await asyncio.to_thread(ask_all, plane.ports.ops, ["any"], "/n1/metrics")
        return answer.body

    assert await scraped() == f"{old.socket} /metrics"

    # when the agent moves it by rename, while both releases still run
    beside = plane.folder / "n1.next"
    beside.symlink_to(fresh.socket)
    beside.rename(door)

    # then the very next scrape reaches the new one
    assert await scraped() == f"{fresh.socket} /metrics"


async def test_an_admin_that_is_away_is_worth_a_retry() -> None:
    [port] = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        routes = EnvoyRoutes(Path(folder), f"http://127.0.0.1:{port}")

        with pytest.raises(Retryable, match=f"envoy admin: http://127.0.0.1:{port}/stats"):
            await routes.applied_version(config.ROUTES)
