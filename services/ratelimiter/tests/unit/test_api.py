"""What the routes answer when something is wrong inside."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from ratelimiter.api import Api
from ratelimiter.gcra import Quota
from ratelimiter.lifecycle import Lifecycle
from ratelimiter.limiter import Limiter
from ratelimiter.limits import Limit, LimitsFile
from ratelimiter.messages import Request

CHECK = Request("POST", "/v1/check", b'{"limit":"a","key":"k"}')


def now() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


def test_a_bug_costs_one_request_and_tells_the_client_nothing_of_its_inside() -> None:
    # given a clock that fails at its first reading, in the midst of a check
    readings = iter(["secret", "5"])
    file = LimitsFile("test", (Limit("a", "1/1h", Quota(1, 3_600 * 10**9, 2)),))
    limiter = Limiter(file, clock_ns=lambda: int(next(readings)))
    api = Api(limiter=limiter, lifecycle=Lifecycle(clock=now), clock=now)
    # when two checks come
    first, second = api.answer(CHECK), api.answer(CHECK)
    # then the first gets a problem document and the second its decision, from an untouched bucket
    assert first.answer.status == json.loads(first.answer.body)["status"] == 500
    assert b"secret" not in first.answer.body
    assert json.loads(second.answer.body)["remaining"] == 1
