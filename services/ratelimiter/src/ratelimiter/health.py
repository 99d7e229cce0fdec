"""Says how each part of the service is, since when, and how that is known. Reads the other parts; changes none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from ratelimiter.lifecycle import Lifecycle
from ratelimiter.limiter import Limiter
from ratelimiter.telemetry import Telemetry

UP, DEGRADED, DRAINING = "up", "degraded", "draining"
# Above this part of its room a keyspace is close to refusing new keys.
NEARLY_FULL_PERCENT = 90


class Reading(NamedTuple):
    """The state of one component now, with the evidence for it."""

    component: str
    state: str
    evidence: str


class Health:
    """Reads the components on request and remembers since when each was seen in its present state."""

    def __init__(
        self, *, limiter: Limiter, lifecycle: Lifecycle, telemetry: Telemetry, clock: Callable[[], datetime]
    ) -> None:
        self._limiter = limiter
        self._lifecycle = lifecycle
        self._telemetry = telemetry
        self._clock = clock
        self._seen: dict[str, tuple[str, datetime]] = {}

    def report(self) -> dict[str, object]:
        """``{"state", "components": [{"name", "state", "since", "evidence"}]}``; ``state`` is the worst of them."""
        readings = (self._http(), self._limits(), *self._keyspaces())
        states = {reading.state for reading in readings}
        return {
            "state": next(state for state in (DRAINING, DEGRADED, UP) if state in states),
            "components": [
                {
                    "name": reading.component,
                    "state": reading.state,
                    "since": self._since(reading).isoformat(timespec="milliseconds"),
                    "evidence": reading.evidence,
                }
                for reading in readings
            ],
        }

    def _http(self) -> Reading:
        state = DRAINING if self._lifecycle.draining else UP
        evidence = f"{self._telemetry.answered} answers sent in {self._lifecycle.uptime_s:.0f} s"
        return Reading("http", state, evidence)

    def _limits(self) -> Reading:
        count = len(self._limiter.limits)
        return Reading("limits", UP, f"{count} limits of file version {self._limiter.version} in force")

    def _keyspaces(self) -> tuple[Reading, ...]:
        return tuple(self._keyspace(limit.name) for limit in self._limiter.limits)

    def _keyspace(self, name: str) -> Reading:
        held, room = self._limiter.keys_held(name), self._limiter.max_keys
        state = DEGRADED if held * 100 >= room * NEARLY_FULL_PERCENT else UP
        return Reading(f"keyspace:{name}", state, f"{held} of {room} keys held")

    def _since(self, reading: Reading) -> datetime:
        """When the state was first seen; a component that is up was so from the start, unless it was seen otherwise."""
        known = self._seen.get(reading.component, (UP, self._lifecycle.started_at))
        if known[0] != reading.state:
            known = (reading.state, self._lifecycle.draining_since or self._clock())
        self._seen[reading.component] = known
        return known[1]
