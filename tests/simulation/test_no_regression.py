"""`no regression` of what is counted: what chance explains passes, what it does not is taken back. In virtual time."""

from __future__ import annotations

import pytest

from harness.cli.story import line
from harness.core import events as e
from harness.core.lifecycle import State
from harness.simulation.clock import run
from harness.simulation.service import Behaviour, Change
from tests.simulation.operations import MANIFEST, Operations
from tests.simulation.test_by_hand import a_commit, quiet

CRITERIA = [{"metric": "error_share", "condition": "no regression"}]


async def delivered(error_share: float, operations: Operations | None = None) -> Operations:
    operations = operations or await quiet()
    commit = a_commit(operations, Change("another", Behaviour(error_share=error_share)))
    operations.file(change=commit, acceptance_criteria=CRITERIA)
    await operations.settle()
    return operations


@pytest.mark.parametrize("error_share", [0.0, 0.0003])
def test_one_error_after_none_is_chance_and_the_numbers_that_say_so_are_recorded(error_share: float) -> None:
    async def story() -> None:
        operations = await delivered(error_share)
        met = operations.last("INF-1", e.CriteriaMet)
        (judged,) = met.criteria
        assert operations.state("INF-1") is State.RESOLVED and judged.compared is not None
        assert judged.compared.now == judged.measured and judged.compared.p_worse > 0.05
        said = line(met, operations.blobs)
        assert said is not None and "beside 0 % before" in said and "if nothing changed" in said

    run(story())


def test_harm_that_the_canary_is_too_small_for_is_seen_and_taken_back() -> None:
    async def story() -> None:
        operations = await delivered(0.003)
        failed = operations.last("INF-1", e.CriteriaNotMet)
        (judged,) = failed.criteria
        assert isinstance(operations.ticket("INF-1").attempts[0].canary, e.CanaryPassed)
        assert judged.met is False and judged.compared is not None and judged.compared.p_worse <= 0.05
        assert "beside 0 % before" in failed.reason

    run(story())


def test_a_margin_that_the_service_declares_has_to_be_shown() -> None:
    """One error after none would be chance. But a service that got worse by the margin would look so as well."""

    async def story() -> None:
        share = MANIFEST.metrics["error_share"].model_copy(update={"margin": 0.001})
        declared = MANIFEST.model_copy(update={"metrics": {**MANIFEST.metrics, "error_share": share}})
        operations = await quiet(declared)
        await delivered(0.0003, operations)
        failed = operations.last("INF-1", e.CriteriaNotMet)
        (judged,) = failed.criteria
        assert judged.met is None and judged.compared is not None and judged.compared.declared
        assert "cannot be told from 0 % before" in failed.reason and "0.1 points as declared" in failed.reason

    run(story())
