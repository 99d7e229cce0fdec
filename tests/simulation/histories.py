"""Histories that several tests tell of: incidents of the modelled world, played to their end."""

from __future__ import annotations

from dataclasses import replace

from harness.simulation.service import Behaviour
from tests.simulation.operations import RULES, Operations, days_work, incident
from tests.simulation.test_stops import a_change_that_needs_the_bad_one


async def repaired() -> Operations:
    """A slow commit is found, taken back and verified."""
    operations = await incident(days_work(4))
    await operations.settle()
    return operations


async def repaired_at_the_second_try() -> Operations:
    """The first repair makes errors and is stopped by its canary; the second attempt finds another way."""
    operations = await incident(a_change_that_needs_the_bad_one(Behaviour(error_share=0.3)))
    await operations.settle()
    return operations


async def replaced() -> Operations:
    """A node is lost, and an action of the catalog brings another one."""
    operations = await incident([])
    operations.world.kill("n2")
    await operations.settle()
    return operations


async def given_up(without: Behaviour = Behaviour(error_share=0.3)) -> Operations:  # noqa: B008 – a value
    """The only attempt that is allowed is stopped, and a person is asked."""
    admission = RULES.profile.admission.model_copy(update={"attempts": 1})
    rules = replace(RULES, profile=RULES.profile.model_copy(update={"admission": admission}))
    operations = await incident(a_change_that_needs_the_bad_one(without), rules=rules)
    await operations.settle()
    return operations
