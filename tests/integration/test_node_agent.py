"""Proves with real releases in real sandboxes that a node does as ordered, once, whatever dies in between."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256

import psutil
import pytest

from harness.adapters.node.agent import NodeAgent
from harness.adapters.node.as_started import look
from harness.adapters.releases import ReleaseStore
from harness.core.deployment import Tells
from harness.core.errors import Forbidden, Invalid, Retryable
from harness.simulation.routes import MemoryRoutes
from tests.integration.node_world import BROKEN, MUTE, SERVICE, World, ask, new_world, order, until
from tests.integration.test_node_sandbox import needs_bubblewrap

pytestmark = needs_bubblewrap


@pytest.fixture
def world() -> Iterator[World]:
    with new_world() as made:
        yield made


@asynccontextmanager
async def watching(agent: NodeAgent) -> AsyncIterator[None]:
    task = asyncio.create_task(agent.watch())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_node_without_a_past_starts_mains_head(world: World) -> None:
    world.repo.version("old")
    head = world.repo.version("one")
    agent = world.agent()

    await agent.resume()

    report = await agent.report()
    assert report.slots["stable"].commit == head and report.slots["stable"].healthy
    assert ask(world.serving()[0]) == ask(world.home.sockets / "n1.sock") == "one"
    assert world.starts()[0]["key"] == "boot-n1"


async def test_a_swap_waits_for_requests_in_flight_before_the_old_release_ends(world: World) -> None:
    # given a stable release with two requests in flight
    world.repo.version("one")
    agent = world.agent()
    await agent.resume()
    old = world.serving()[0]
    world.routes.in_flight[old] = 2

    # when it is swapped
    swap = asyncio.create_task(agent.obey(order("k2", world.repo.version("two"))))
    await until(lambda: world.serving() and world.serving() != [old])

    # then the new one serves, the old one drains and lives until the last request is done
    assert ask(world.serving()[0]) == "two" and ask(old) == "one"
    assert world.routes.members["stable"]["n1", old] == "DRAINING" and not swap.done()
    world.routes.in_flight[old] = 0
    answer = await swap
    assert answer.ok and answer.before and answer.ready_at and answer.drain_from and answer.drain_to
    assert answer.started_at < answer.ready_at < answer.drain_from < answer.drain_to < answer.ended_at
    assert list(world.routes.members["stable"]) == [("n1", world.serving()[0])]
    assert len(world.living()) == 1
    assert ask(world.home.sockets / "n1.sock") == "two"
    assert "ended in peace" in world.home.log("n1-stable").read_text()


async def test_a_drain_that_does_not_end_is_limited_and_told(world: World) -> None:
    world.repo.version("one")
    agent = world.agent(drain_limit_s=0.2)
    await agent.resume()
    world.routes.in_flight[world.serving()[0]] = 1

    answer = await agent.obey(order("k2", world.repo.version("two")))

    assert answer.ok and answer.reason == "1 requests in flight after 0.2 s of draining"
    assert len(world.living()) == 1


async def test_the_same_key_is_acted_on_once(world: World) -> None:
    world.repo.version("one")
    agent = world.agent()
    await agent.resume()
    swap = order("k2", world.repo.version("two"))

    first, at_once = await asyncio.gather(agent.obey(swap), agent.obey(swap))
    after_a_restart = await world.agent().obey(swap)

    assert first == at_once == after_a_restart
    assert [start["key"] for start in world.starts()] == ["boot-n1", "k2"]


async def test_canary_and_baseline_come_and_go_beside_stable(world: World) -> None:
    head = world.repo.version("one")
    agent = world.agent()
    await agent.resume()

    await asyncio.gather(
        agent.obey(order("c", world.repo.version("two"), verb="place", slot="canary")),
        agent.obey(order("b", head, verb="place", slot="baseline")),
    )
    assert [ask(world.serving(slot)[0]) for slot in ("stable", "canary", "baseline")] == ["one", "two", "one"]

    removed = await agent.obey(order("c-", verb="remove", slot="canary"))
    nothing_left = await agent.obey(order("c--", verb="remove", slot="canary"))
    assert removed.ok and nothing_left.ok and nothing_left.reason == "the slot was empty"
    assert world.routes.members["canary"] == {} and set((await agent.report()).slots) == {"stable", "baseline"}
    assert ask(world.home.sockets / "n1.sock") == "one"


async def test_an_older_token_is_refused_with_both_named(world: World) -> None:
    world.repo.version("one")
    agent = world.agent()
    await agent.resume()
    await agent.obey(order("k7", world.repo.version("two"), token=7))

    with pytest.raises(Forbidden, match=r"token 6 of k6 is older than 7"):
        await world.agent().obey(order("k6", world.repo.version("three"), token=6))

    assert (await agent.report()).highest_token == 7
    assert len(world.starts()) == 2


async def test_a_token_that_the_routes_have_outgrown_is_refused_before_anything_starts(world: World) -> None:
    # given a node that a later delivery, which wrote the routes, had nothing to do with
    world.repo.version("one")
    agent = world.agent()
    await agent.resume()
    await agent.obey(order("k7", world.repo.version("two"), token=7))
    world.routes.put("stable", "n2", "/elsewhere.sock", "HEALTHY", 9, "another node, a newer delivery")

    # then its report names the token that is asked for, and an older one starts nothing
    assert (await agent.report()).highest_token == 9
    with pytest.raises(Forbidden, match=r"token 8 of k8 is older than 9"):
        await agent.obey(order("k8", world.repo.version("three"), token=8))
    assert len(world.starts()) == 2
    assert (await agent.obey(order("k9", world.repo.version("three"), token=9))).ok


@pytest.mark.parametrize(
    ("code", "words", "ready_limit_s"), [(BROKEN, "no such limit file", 30.0), (MUTE, "listening to nobody", 3.0)]
)
async def test_a_release_that_does_not_start_is_an_answer_and_the_old_one_keeps_serving(
    world: World, code: str, words: str, ready_limit_s: float
) -> None:
    # given a release that serves, and an agent that took it up and waits so long for another one
    head = world.repo.version("one")
    await world.agent().resume()
    agent = world.agent(ready_limit_s=ready_limit_s)
    await agent.resume()

    answer = await agent.obey(order("k2", world.repo.commit(code)))

    assert not answer.ok and words in answer.reason and answer.ready_at is None
    assert (await agent.report()).slots["stable"].commit == head
    assert ask(world.serving()[0]) == "one"
    assert len(world.living()) == 1
    assert await agent.obey(order("k2")) == answer


async def test_an_order_that_cannot_be_done_leaves_nothing_behind(world: World) -> None:
    world.repo.version("one")
    agent = world.agent()
    await agent.resume()

    with pytest.raises(Invalid, match="is not in"):
        await agent.obey(order("k2", "0" * 40))
    with pytest.raises(Invalid, match="swap needs a commit"):
        await agent.obey(order("k3"))
    answer = await agent.obey(order("k2", world.repo.version("two")))

    assert answer.ok and ask(world.serving()[0]) == "two"


@pytest.mark.parametrize("when", ["answered", "started", "routed"])
async def test_a_release_outlives_its_agent_and_is_taken_up_by_the_next(world: World, when: str) -> None:
    # given an agent that was killed in the middle of an order, or after it
    head = world.repo.version("one")
    assert await world.killed_agent(when) == -signal.SIGKILL
    (living,) = world.living().values()

    # when the next one takes up the node
    agent = world.agent()
    await agent.resume()

    # then the very same process serves, and was started once
    assert list(world.living().values()) == [living]
    assert [start["key"] for start in world.starts()] == ["k1"]
    report = await agent.report()
    assert report.slots["stable"].commit == head and report.slots["stable"].healthy
    assert ask(world.serving()[0]) == ask(world.home.sockets / "n1.sock") == "one"
    assert (await agent.obey(order("k1", head, verb="place"))).ok
    assert len(world.starts()) == 1


async def test_a_start_that_nobody_noted_is_still_in_the_log(world: World) -> None:
    world.repo.version("one")
    assert await world.killed_agent("started") == -signal.SIGKILL
    (world.home.root / "releases.log").unlink()  # as if it had died between the start and the line

    await world.agent().resume()

    assert [start["key"] for start in world.starts()] == ["k1"]
    assert len(world.living()) == 1


async def test_a_release_that_no_memory_knows_is_ended(world: World) -> None:
    world.repo.version("one")
    assert await world.killed_agent("answered") == -signal.SIGKILL
    (stray,) = world.living()
    (world.home.nodes / "n1/state.json").unlink()

    await world.agent().resume()

    assert stray not in world.living() and len(world.living()) == 1
    assert ask(world.serving()[0]) == "one"


async def test_a_release_that_died_with_its_agent_is_started_again(world: World) -> None:
    head = world.repo.version("one")
    assert await world.killed_agent("answered") == -signal.SIGKILL
    for process in world.living().values():
        os.kill(process.pid, signal.SIGKILL)
    await until(lambda: not world.living())

    agent = world.agent()
    await agent.resume()

    assert (await agent.report()).slots["stable"].commit == head
    assert ask(world.serving()[0]) == "one"


async def test_a_killed_release_leaves_the_routes_within_a_second_and_comes_back(world: World) -> None:
    world.repo.version("one")
    agent = world.agent()
    await agent.resume()
    out_s: list[float] = []
    async with watching(agent):
        while len(out_s) < 3 and not (out_s and out_s[-1] < 1.0):  # a stall of the machine is seen once
            (old,) = world.serving()
            (process,) = world.living().values()
            os.kill(process.pid, signal.SIGKILL)

            out_s.append(await until(lambda old=old: ("n1", old) not in world.routes.members["stable"]))
            await until(lambda old=old: world.serving() and world.serving() != [old])

        assert out_s[-1] < 1.0, out_s
        assert list(world.routes.members["stable"]) == [("n1", world.serving()[0])]
        assert ask(world.serving()[0]) == ask(world.home.sockets / "n1.sock") == "one"
    assert (await agent.report()).slots["stable"].healthy


async def test_a_neighbour_that_died_with_its_agent_leaves_the_routes_and_one_that_hangs_stays(world: World) -> None:
    # given a node, and a neighbour that listens and does not answer
    world.repo.version("one")
    agent = world.agent()
    await agent.resume()
    dead, hanging = (world.home.sockets.resolve() / name for name in ("n2.dead", "n3.busy"))
    with socket.socket(socket.AF_UNIX) as gone, socket.socket(socket.AF_UNIX) as busy:
        gone.bind(str(dead))
        busy.bind(str(hanging))
        busy.listen(0)
        world.routes.put("stable", "n3", str(hanging), "HEALTHY", 7, "k")
        out_s: list[float] = []
        async with watching(agent):
            while len(out_s) < 3 and not (out_s and out_s[-1] < 1.0):  # a stall of the machine is seen once
                # when the node looks on while nobody listens any more on another one's sockets
                for path in (dead, dead.with_name("n2.missing")):
                    world.routes.put("stable", "n2", str(path), "HEALTHY", 7, "k")
                out_s.append(await until(lambda: all(node != "n2" for node, _ in world.routes.members["stable"])))

            # then the dead one is out within a second, written by whoever may write now
            assert out_s[-1] < 1.0, out_s
            # and when the node has looked at all of them once more, the others are still there
            world.routes.put("stable", "n2", str(dead), "HEALTHY", 7, "k")
            await until(lambda: all(node != "n2" for node, _ in world.routes.members["stable"]))
    assert {node for node, _ in world.routes.members["stable"]} == {"n1", "n3"}
    assert "000000000007." in world.routes.history[-1] and "lost-n2-seen-by-n1" in world.routes.history[-1]


async def test_a_release_that_hangs_is_replaced(world: World) -> None:
    world.repo.version("one")
    agent = world.agent()
    await agent.resume()
    (old,) = world.serving()
    (process,) = world.living().values()
    (payload,) = psutil.Process(process.pid).children()
    payload.suspend()
    async with watching(agent):
        await until(lambda: world.serving() and world.serving() != [old])
    assert ask(world.serving()[0]) == "one"
    assert len(world.living()) == 1


async def test_a_repair_writes_with_the_token_of_whoever_may_write_now(world: World) -> None:
    world.repo.version("one")
    agent = world.agent()
    await agent.resume()
    (old,) = world.serving()
    world.routes.put("stable", "n2", "/elsewhere.sock", "HEALTHY", 9, "another node, a newer delivery")
    async with watching(agent):
        (process,) = world.living().values()
        os.kill(process.pid, signal.SIGKILL)
        await until(lambda: [sock for sock in world.serving() if sock not in (old, "/elsewhere.sock")])
    assert world.routes.highest_token("stable") == 9


class RoutesThatAreAway(MemoryRoutes):
    """A data plane that writes can't be confirmed on, while ``away``."""

    away = False

    async def applied(self, resource: str, version: str, timeout_s: float) -> str:
        if self.away:
            raise Retryable("the data plane is away")
        return await super().applied(resource, version, timeout_s)


@pytest.fixture
def flaky(world: World) -> RoutesThatAreAway:
    world.routes = routes = RoutesThatAreAway()
    return routes


async def test_an_order_cut_off_by_the_data_plane_is_carried_on_by_the_same_order(
    world: World, flaky: RoutesThatAreAway
) -> None:
    world.repo.version("one")
    agent = world.agent()
    await agent.resume()
    swap = order("k2", world.repo.version("two"))
    flaky.away = True
    with pytest.raises(Retryable):
        await agent.obey(swap)
    assert len(world.living()) == 2  # the old one was not ended on a guess

    flaky.away = False
    answer = await agent.obey(swap)

    assert answer.ok and len(world.living()) == 1 and len(world.starts()) == 2
    assert ask(world.serving()[0]) == "two"


async def test_what_another_order_left_unfinished_is_cleared(world: World, flaky: RoutesThatAreAway) -> None:
    world.repo.version("one")
    agent = world.agent()
    await agent.resume()
    flaky.away = True
    with pytest.raises(Retryable):
        await agent.obey(order("k2", world.repo.version("two"), token=2))
    flaky.away = False

    answer = await agent.obey(order("k3", world.repo.version("three"), token=3))

    assert answer.ok and ask(world.serving()[0]) == "three"
    assert len(world.living()) == 1 and len(world.routes.members["stable"]) == 1
    with pytest.raises(Forbidden):
        await agent.obey(order("k2", world.repo.version("two"), token=2))


SERVICE_THAT_TELLS = (
    SERVICE.replace(
        "body = VERSION.encode()",
        """body = b'{"version": "%s"}' % hashlib.sha256(LIMITS).hexdigest()[:12].encode()""",
    )
    .replace("import asyncio,", "import asyncio, hashlib, pathlib,")
    .replace('VERSION = "@VERSION@"', "LIMITS = pathlib.Path('limits.yaml').read_bytes()")
)


def version(limits: str) -> str:
    return sha256(limits.encode()).hexdigest()[:12]


async def test_a_folder_that_is_altered_and_limits_that_stay_in_memory_are_both_told(world: World) -> None:
    # given a release that tells by which limits it runs
    commit = world.repo.commit(SERVICE_THAT_TELLS, files={"limits.yaml": "rate: 10\n"})
    agent = world.agent()
    await agent.resume()
    assert (await agent.report()).slots["stable"].altered is None, "nobody has looked yet"
    async with watching(agent):

        async def told(altered: tuple[str, ...], limits: str) -> None:
            while (release := (await agent.report()).slots["stable"]).altered != altered or (
                release.told != version(limits)
            ):
                await asyncio.sleep(0.02)
            assert release.commit == commit

        await asyncio.wait_for(told((), "rate: 10\n"), 30)
        # when a hand alters its folder and has it started anew, then both are told
        limits = world.home.releases / (await agent.report()).slots["stable"].tree / "limits.yaml"
        limits.chmod(0o644)
        limits.write_text("rate: 99\n")
        (process,) = world.living().values()
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.wait_for(told(("limits.yaml",), "rate: 99\n"), 30)
        # when the file is put right, then the folder is as it was, and what runs still is not
        limits.write_text("rate: 10\n")
        await asyncio.wait_for(told((), "rate: 99\n"), 30)


async def test_a_release_that_tells_no_version_is_not_taken_at_its_word(world: World) -> None:
    # given a release that stands for whatever answers at a socket
    world.repo.version("one")
    agent = world.agent()
    await agent.resume()
    releases = ReleaseStore(home=world.home, repository=world.repo.path)
    asked = Tells(route="/v1/limits", field="version")
    says = [b""]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(says[0])
        writer.close()

    where = world.home.root / "any.sock"
    occupant = agent._state.slots["stable"].model_copy(update={"socket": where})
    assert (await look(occupant, releases, asked)).told is None, "nobody answers"
    async with await asyncio.start_unix_server(answer, str(where)):
        head = b"HTTP/1.1 200 OK\r\n\r\n"
        says[0] = head + b'{"version": "0123456789ab"}'
        assert (await look(occupant, releases, asked)).told == "0123456789ab"
        # when it answers with anything else: then it tells nothing
        for anything in (
            b"", b"\0\0", b"HTTP/1.1 500 Ouch\r\n\r\n{}", head, head + b"[1]", head + b'{"version": 7}',
            head + b'{"version": "<script>"}', head + b'{"version": "0123456"}', head + b"\xff",
            head + b'{"version": "0123456789ab", "more": "' + 70_000 * b"a" + b'"}',
        ):  # fmt: skip
            says[0] = anything
            assert (await look(occupant, releases, asked)).told is None, anything[:80]
