"""The header fields that tell a client its quota (draft-ietf-httpapi-ratelimit-headers-10). Pure."""

from __future__ import annotations

from ratelimiter.gcra import NEVER, Decision, divide_up
from ratelimiter.limits import Limit
from ratelimiter.messages import Fields

SECOND_NS = 10**9


def policy(limit: Limit) -> str:
    """``"name";q=BURST;w=SECONDS``: what can be spent at once, and how long an empty bucket takes to hold it again."""
    return f'"{limit.name}";q={limit.quota.burst};w={_seconds(limit.quota.refill_ns)}'


def quota_fields(limit: Limit, decision: Decision) -> Fields:
    """The fields of an answer. ``t`` is the time until there is more, not until the bucket is full.

    ``Retry-After`` is never earlier than ``t`` and is left out where no waiting helps.
    """
    more = f";t={_seconds(decision.more_after_ns)}" if decision.more_after_ns else ""
    fields = (
        ("RateLimit-Policy", policy(limit)),
        ("RateLimit", f'"{limit.name}";r={decision.remaining}{more}'),
    )
    if decision.allowed or decision.retry_after_ns == NEVER:
        return fields
    retry_after_s = max(_seconds(decision.retry_after_ns), _seconds(decision.more_after_ns))
    return (*fields, ("Retry-After", str(retry_after_s)))


def _seconds(duration_ns: int) -> int:
    """Whole seconds, rounded up, at least 1."""
    return max(divide_up(duration_ns, SECOND_NS), 1)
