"""The port ``Router`` on Envoy: writes the shares and waits until Envoy says that they hold. Decides no share."""

from __future__ import annotations

from collections.abc import Mapping

from harness.adapters.envoy import config
from harness.adapters.envoy.routes import EnvoyRoutes
from harness.core.errors import Invalid

_APPLIED_WITHIN_S = 5.0


class EnvoyRouter:
    """The shares of the traffic, through ``routes``."""

    def __init__(self, routes: EnvoyRoutes) -> None:
        self._routes = routes

    async def set_weights(self, weights: Mapping[str, float], token: int, note: str) -> str:
        """Give canary and baseline their shares (0..1, none when left out), stable the rest; the version in force.

        Raises Invalid for another arm or an impossible share, Forbidden for an old token, Retryable when Envoy does
        not apply it within 5 s; the write then stands, and the same call again waits for it.
        """
        version = self._routes.set_weights(
            {"canary": 0, "baseline": 0} | {arm: _per_mille(arm, share) for arm, share in weights.items()}, token, note
        )
        return await self._routes.applied(config.ROUTES, version, _APPLIED_WITHIN_S)

    def weights(self) -> dict[str, float]:
        """The shares of canary and baseline as they were written last."""
        written = self._routes.weights()
        return {arm: written[arm] / config.WHOLE for arm in ("canary", "baseline")}


def _per_mille(arm: str, share: float) -> int:
    if not 0 <= share <= 1 or 0 < share < 1 / config.WHOLE:
        raise Invalid(f"weights: the share of {arm} is {share}, allowed are 0 and {1 / config.WHOLE} to 1")
    return round(share * config.WHOLE)
