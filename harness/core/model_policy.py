"""How models are used, what one session may spend, and what a token costs. Data from ``policies/models.yaml``; pure."""

from __future__ import annotations

import re

from pydantic import Field

from harness.core.conversation import Usage
from harness.core.declaration import Declaration

_DATED = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2})$")
_PER = 1_000_000


class Wire(Declaration):
    """Bounds of one request, in seconds: to connect, between two pieces of a stream, and for the whole answer."""

    connect_s: float = Field(gt=0)
    stall_s: float = Field(gt=0)
    call_s: float = Field(gt=0)
    output_tokens: int = Field(ge=1)


class ModelSession(Declaration):
    """Limits of a ticket's session that a model works, besides the steps and repeats of its profile."""

    wall_clock_s: float = Field(gt=0)
    tokens: int = Field(ge=1)
    usd: float = Field(gt=0)
    context_chars: int = Field(ge=1_000)
    """Beyond this, the oldest answers of tools are left out of the prompt; the ledger keeps them."""
    result_chars: int = Field(ge=200)
    """The longest answer of a tool that is shown whole."""


class Probe(Declaration):
    """Limits of ``harness agent probe``; ``tries`` of one request, the first included."""

    calls: int = Field(ge=1)
    tries: int = Field(ge=1)
    stall_s: float = Field(gt=0)
    wall_clock_s: float = Field(gt=0)


class Price(Declaration):
    """USD for a million tokens. What is read from the provider's cache or written to it has a price of its own."""

    tokens_in: float = Field(ge=0)
    tokens_out: float = Field(ge=0)
    cache_read: float = Field(ge=0)
    cache_written: float = Field(ge=0)


class ModelPolicy(Declaration):
    """``policies/models.yaml``. ``defaults``: the model that an agent uses when nobody names one."""

    defaults: dict[str, str]
    wire: Wire
    session: ModelSession
    probe: Probe
    prices: dict[str, Price]

    def price(self, model: str) -> Price | None:
        """The price of a model; a date at the end of its name does not change it. None when it is not listed."""
        return self.prices.get(model) or self.prices.get(_DATED.sub("", model))

    def cost_usd(self, model: str, usage: Usage) -> float | None:
        """What a reply cost; None when the model has no price here or the tokens are not known."""
        price = self.price(model)
        if price is None or usage.tokens_in is None or usage.tokens_out is None:
            return None
        fresh = max(usage.tokens_in - usage.cache_read - usage.cache_written, 0)
        return (
            fresh * price.tokens_in
            + usage.cache_read * price.cache_read
            + usage.cache_written * price.cache_written
            + usage.tokens_out * price.tokens_out
        ) / _PER
