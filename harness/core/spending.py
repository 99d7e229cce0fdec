"""What models cost a ticket so far, from its events. Pure; touches nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.core import events as e
from harness.core.model_policy import ModelPolicy
from harness.core.ticket import Ticket
from harness.core.ticket_spec import Budget


@dataclass(frozen=True, slots=True)
class Spent:
    """Sums over the replies of models. Without any they are 0; None when one of them is not known."""

    replies: int = 0
    usd: float | None = 0.0
    tokens_in: int | None = 0
    tokens_out: int | None = 0


def spent(steps: Iterable[e.ActionTaken | e.ObservationRecorded]) -> Spent:
    """What these steps took."""
    total = Spent()
    for step in steps:
        if isinstance(step, e.ActionTaken) and step.usage is not None:
            usage = step.usage
            total = Spent(
                replies=total.replies + 1,
                usd=None if total.usd is None or usage.usd is None else total.usd + usage.usd,
                tokens_in=_plus(total.tokens_in, usage.tokens_in), tokens_out=_plus(total.tokens_out, usage.tokens_out),
            )  # fmt: skip
    return total


def cost_of(ticket: Ticket) -> dict[str, Any]:
    """The contract's ``cost``: 0 where no model was asked, None where it is not known. The GPU is not metered."""
    total = spent(step for attempt in ticket.attempts for step in attempt.steps)
    return {"usd": total.usd, "tokens_in": total.tokens_in, "tokens_out": total.tokens_out, "gpu_s": None}


def over_budget(so_far: Spent, prompt_chars: int, model: str, policy: ModelPolicy) -> str | None:
    """Which budget the next request could overspend; None when it fits even if its answer is as long as it may be.

    What the next request may take is set aside before it is made, so that the sum never passes the cap. A model
    without a price is held by tokens alone.
    """
    limits, output = policy.session, policy.wire.output_tokens
    ahead = prompt_chars // CHARS_A_TOKEN + output
    if so_far.tokens_in is None or so_far.tokens_out is None:  # an endpoint that does not count gets no more for that
        tokens = so_far.replies * ahead
    else:
        tokens = so_far.tokens_in + so_far.tokens_out
    if tokens + ahead > limits.tokens:
        return f"{tokens} tokens were used and the next request may take {ahead}; {limits.tokens} are allowed"
    price = policy.price(model)
    if price is not None and so_far.usd is not None:
        dearest = max(price.tokens_in, price.cache_written)
        next_usd = (prompt_chars / CHARS_A_TOKEN * dearest + output * price.tokens_out) / 1_000_000
        if so_far.usd + next_usd > limits.usd:
            return (
                f"{so_far.usd:.2f} USD were spent and the next request may cost {next_usd:.2f}; "
                f"{limits.usd:.2f} are allowed"
            )
    return None


def within(policy: ModelPolicy, budget: Budget, before: Spent) -> ModelPolicy:
    """The policy for a session of a ticket that has a budget of its own, of which earlier attempts took ``before``."""
    limits, update = policy.session, {}
    if budget.usd is not None and before.usd is not None:
        update["usd"] = min(limits.usd, max(0.0, budget.usd - before.usd))
    tokens = None if before.tokens_in is None or before.tokens_out is None else before.tokens_in + before.tokens_out
    if budget.tokens is not None and tokens is not None:
        update["tokens"] = min(limits.tokens, max(0, budget.tokens - tokens))
    return policy.model_copy(update={"session": limits.model_copy(update=update)})


CHARS_A_TOKEN = 2
"""Fewer than in any text that is sent here, so that what is set aside is rather too much."""


def _plus(total: int | None, more: int | None) -> int | None:
    return None if total is None or more is None else total + more
