"""What health says over a life of the service."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from ratelimiter.api import Api
from ratelimiter.gcra import Quota
from ratelimiter.lifecycle import Lifecycle
from ratelimiter.limiter import Limiter
from ratelimiter.limits import Limit, LimitsFile
from ratelimiter.messages import Request

START = datetime(2026, 1, 1, tzinfo=UTC)


class Wall:
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def an_api(wall: Wall) -> Api:
    file = LimitsFile("test", (Limit("a", "1/1h", Quota(1, 3_600 * 10**9, 2)),))
    limiter = Limiter(file, clock_ns=lambda: 0, max_keys=2)
    return Api(limiter=limiter, lifecycle=Lifecycle(clock=wall), clock=wall)


def components(api: Api) -> dict[str, tuple[str, str]]:
    report = json.loads(api.answer(Request("GET", "/v1/health", b"")).answer.body)
    return {component["name"]: (component["state"], component["since"]) for component in report["components"]}


def check(api: Api, key: str) -> int:
    return api.answer(Request("POST", "/v1/check", b'{"limit":"a","key":"%b"}' % key.encode())).answer.status


def test_what_was_never_down_is_up_since_the_start() -> None:
    wall = Wall()
    api = an_api(wall)
    wall.now += timedelta(minutes=5)
    assert set(components(api).values()) == {("up", "2026-01-01T00:00:00.000+00:00")}


def test_a_nearly_full_keyspace_is_degraded_since_it_was_seen() -> None:
    wall = Wall()
    api = an_api(wall)
    assert [check(api, "x"), check(api, "y"), check(api, "z")] == [200, 200, 503]
    wall.now += timedelta(seconds=1)
    assert components(api)["keyspace:a"] == ("degraded", "2026-01-01T00:00:01.000+00:00")
    wall.now += timedelta(seconds=1)
    assert components(api)["keyspace:a"] == ("degraded", "2026-01-01T00:00:01.000+00:00")


def test_draining_shows_since_it_began_whenever_it_is_read() -> None:
    wall = Wall()
    api = an_api(wall)
    wall.now += timedelta(seconds=3)
    api.answer(Request("POST", "/v1/drain", b""))
    wall.now += timedelta(seconds=3)
    api.answer(Request("POST", "/v1/drain", b""))
    assert components(api)["http"] == ("draining", "2026-01-01T00:00:03.000+00:00")
    assert components(api)["keyspace:a"] == ("up", "2026-01-01T00:00:00.000+00:00")
