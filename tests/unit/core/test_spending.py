"""What a model costs: prices, sums, and budgets that are never passed. Pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bootstrap import read_rules
from harness.core import events as e
from harness.core.conversation import Usage
from harness.core.spending import CHARS_A_TOKEN, Spent, over_budget, spent

POLICY = read_rules().models
PRICED = "claude-opus-5"


def taken(usd: float | None, tokens_in: int | None, tokens_out: int | None) -> e.ActionTaken:
    usage = e.ModelUsage(model=PRICED, tokens_in=tokens_in, tokens_out=tokens_out, usd=usd, requests=1)
    return e.ActionTaken(attempt=1, step=1, tool="t", call=f"sha256:{'0' * 64}", usage=usage)


def test_a_cost_is_by_kind_of_token_and_a_date_in_the_name_does_not_change_it() -> None:
    usage = Usage(tokens_in=1_000_000, tokens_out=100_000, cache_read=600_000, cache_written=200_000)
    price = POLICY.prices[PRICED]
    wanted = 0.2 * price.tokens_in + 0.6 * price.cache_read + 0.2 * price.cache_written + 0.1 * price.tokens_out
    assert POLICY.cost_usd(PRICED, usage) == pytest.approx(wanted)
    assert POLICY.cost_usd(f"{PRICED}-20260801", usage) == POLICY.cost_usd(f"{PRICED}-2026-08-01", usage)


@pytest.mark.parametrize(
    ("model", "usage"),
    [("nobody-knows", Usage(tokens_in=1, tokens_out=1)), (f"{PRICED}-mini", Usage(tokens_in=1, tokens_out=1)),
     (PRICED, Usage(tokens_in=None, tokens_out=1)), (PRICED, Usage(tokens_in=1))],
)  # fmt: skip
def test_what_is_not_known_costs_none_and_not_zero(model: str, usage: Usage) -> None:
    assert POLICY.cost_usd(model, usage) is None


def test_sums_are_none_as_soon_as_one_part_is_not_known() -> None:
    assert spent([]) == Spent(replies=0, usd=0.0, tokens_in=0, tokens_out=0)
    assert spent([taken(0.5, 10, 1), taken(0.25, 20, 2)]) == Spent(2, 0.75, 30, 3)
    assert spent([taken(None, 10, 1), taken(0.25, 20, None)]) == Spent(2, None, 30, None)


@given(st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 8_192)), max_size=40))
def test_spending_never_passes_the_cap_however_long_answers_are(answers: list[tuple[int, int]]) -> None:
    # given a model whose prompts take no more tokens than characters allow, and whose answers end at their limit
    steps: list[e.ActionTaken | e.ObservationRecorded] = []
    for tokens_in, tokens_out in answers:
        # when it is asked only while the budget allows it
        if over_budget(spent(steps), tokens_in * CHARS_A_TOKEN, PRICED, POLICY) is not None:
            break
        usage = Usage(tokens_in=tokens_in, tokens_out=min(tokens_out, POLICY.wire.output_tokens))
        steps.append(taken(POLICY.cost_usd(PRICED, usage), usage.tokens_in, usage.tokens_out))
    # then neither tokens nor money pass what is allowed
    total = spent(steps)
    assert total.usd is not None and total.usd <= POLICY.session.usd
    assert (total.tokens_in or 0) + (total.tokens_out or 0) <= POLICY.session.tokens
