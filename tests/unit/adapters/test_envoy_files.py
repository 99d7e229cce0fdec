"""Specifies how routes are written: idempotent, fenced, one writer at a time. Real files in a temporary folder."""

from __future__ import annotations

import fcntl
import multiprocessing
from pathlib import Path

import pytest

from harness.adapters.envoy import config
from harness.adapters.envoy.router import EnvoyRouter
from harness.adapters.envoy.routes import EnvoyRoutes
from harness.adapters.envoy.watched import Version
from harness.core.errors import Broken, Forbidden, Invalid, Retryable


@pytest.fixture
def routes(tmp_path: Path) -> EnvoyRoutes:
    return prepared(tmp_path)


def prepared(folder: Path) -> EnvoyRoutes:
    routes = EnvoyRoutes(folder, "http://127.0.0.1:1")
    routes.prepare()
    return routes


def test_a_write_says_who_how_often_and_what_for(routes: EnvoyRoutes) -> None:
    first = routes.put("canary", "n1", "/s/a.sock", "HEALTHY", 7, "INF-1/1/canary/start")
    second = routes.put("canary", "n1", "/s/a.sock", "DRAINING", 8, "INF-1/1/canary/stop")

    assert first == "000000000007.1.INF-1/1/canary/start"
    assert second == routes.version("cluster.canary") == "000000000008.2.INF-1/1/canary/stop"


def test_a_change_that_changes_nothing_writes_nothing(routes: EnvoyRoutes, tmp_path: Path) -> None:
    written = routes.set_weights({"canary": 100, "baseline": 100}, 7, "step")
    before = (tmp_path / config.ROUTES / "resource.json").stat()

    again = routes.set_weights({"canary": 100, "baseline": 100}, 7, "the-same-step-retried")

    after = (tmp_path / config.ROUTES / "resource.json").stat()
    assert again == written
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_removing_what_is_not_there_is_fine(routes: EnvoyRoutes) -> None:
    assert routes.remove("stable", "n1", "/s/none.sock", 0, "again") == "000000000000.0.start"


def test_an_older_token_is_refused_and_both_are_named(routes: EnvoyRoutes) -> None:
    routes.set_weights({"canary": 100, "baseline": 100}, 7, "step")

    with pytest.raises(Forbidden, match=r"token 6 is older than 7, .*000000000007\.1\.step"):
        routes.set_weights({"canary": 200, "baseline": 200}, 6, "late")
    assert routes.weights() == {"canary": 100, "stable": 800, "baseline": 100}


def test_a_newer_holder_with_nothing_to_change_still_fences_the_older_one(routes: EnvoyRoutes) -> None:
    # given a holder that set weights, and a newer one that found them as it wanted them
    written = routes.set_weights({"canary": 0, "baseline": 100}, 7, "step")
    assert routes.set_weights({"canary": 0, "baseline": 100}, 8, "same") == written

    # then the older one cannot write any more, nor confirm
    for weights in ({"canary": 100, "baseline": 100}, {"canary": 0, "baseline": 100}):
        with pytest.raises(Forbidden, match="token 7 is older than 8"):
            routes.set_weights(weights, 7, "late")


def test_the_same_token_may_write_again(routes: EnvoyRoutes) -> None:
    routes.put("stable", "n1", "/s/a.sock", "HEALTHY", 7, "one")

    assert routes.put("stable", "n2", "/s/b.sock", "HEALTHY", 7, "two") == "000000000007.2.two"


def test_a_swap_is_one_write(routes: EnvoyRoutes) -> None:
    routes.put("stable", "n1", "/s/old.sock", "HEALTHY", 1, "start")
    routes.put("stable", "n2", "/s/other.sock", "HEALTHY", 1, "start")

    version = routes.swap("stable", "n1", "/s/new.sock", 1, "swap")

    assert Version.parse(version).n == 3
    assert [(e.node, e.socket, e.state) for e in routes.endpoints("stable")] == [
        ("n1", "/s/new.sock", "HEALTHY"),
        ("n1", "/s/old.sock", "DRAINING"),
        ("n2", "/s/other.sock", "HEALTHY"),
    ]
    assert routes.swap("stable", "n1", "/s/new.sock", 1, "swap-retried") == version


def test_resources_are_versioned_apart(routes: EnvoyRoutes) -> None:
    routes.put("stable", "n1", "/s/a.sock", "HEALTHY", 9, "one")

    assert routes.version("cluster.canary") == "000000000000.0.start"
    assert routes.put("canary", "n1", "/s/a.sock", "HEALTHY", 3, "other").startswith("000000000003.1.")


def test_preparing_again_keeps_what_is_in_place(tmp_path: Path) -> None:
    written = prepared(tmp_path).set_weights({"canary": 100, "baseline": 100}, 7, "step")

    assert prepared(tmp_path).version(config.ROUTES) == written


def test_writers_at_once_lose_no_update(tmp_path: Path) -> None:
    prepared(tmp_path)
    spawn = multiprocessing.get_context("fork")
    writers = [spawn.Process(target=put_fifty, args=(tmp_path, node)) for node in ("n1", "n2", "n3")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=20)

    routes = EnvoyRoutes(tmp_path, "http://127.0.0.1:1")
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert len(routes.endpoints("stable")) == 150
    assert Version.parse(routes.version("cluster.stable")).n == 150


def put_fifty(folder: Path, node: str) -> None:
    routes = EnvoyRoutes(folder, "http://127.0.0.1:1")
    for number in range(50):
        routes.put("stable", node, f"/s/{node}-{number}.sock", "HEALTHY", 1, f"{node}-{number}")


def test_a_writer_that_never_lets_go_is_worth_a_retry(routes: EnvoyRoutes, tmp_path: Path) -> None:
    with (tmp_path / "locks" / "cluster.stable.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        with pytest.raises(Retryable, match=r"cluster\.stable: another writer holds"):
            routes.put("stable", "n1", "/s/a.sock", "HEALTHY", 1, "start")


def test_a_damaged_file_stops_the_writer(routes: EnvoyRoutes, tmp_path: Path) -> None:
    (tmp_path / "cluster.stable" / "resource.json").write_text("{")

    with pytest.raises(Broken, match=r"cluster\.stable: .*resource\.json is no xDS resource"):
        routes.put("stable", "n1", "/s/a.sock", "HEALTHY", 1, "start")


def test_writing_before_the_folder_is_prepared_says_what_prepares_it(tmp_path: Path) -> None:
    with pytest.raises(Broken, match="`harness up` prepares it"):
        EnvoyRoutes(tmp_path, "http://127.0.0.1:1").set_weights({"canary": 0, "baseline": 0}, 1, "step")


@pytest.mark.parametrize("note", ["", "a note", "line\nbreak", "-sign", "x" * 121])
def test_a_note_that_could_not_be_read_back_is_refused(routes: EnvoyRoutes, note: str) -> None:
    with pytest.raises(Invalid, match="note: "):
        routes.put("stable", "n1", "/s/a.sock", "HEALTHY", 1, note)


def test_an_unknown_resource_is_refused_with_those_that_exist(routes: EnvoyRoutes) -> None:
    with pytest.raises(Invalid, match=r"cluster\.canary"):
        routes.version("cluster.other")


async def test_a_share_below_the_smallest_step_is_refused(routes: EnvoyRoutes) -> None:
    with pytest.raises(Invalid, match=r"canary is 0\.0004"):
        await EnvoyRouter(routes).set_weights({"canary": 0.0004}, 1, "step")
