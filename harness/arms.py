"""The canary's two arms: no traffic for them, for good, and then no arms. Touches the router and nodes.

Whoever ends a canary does so under the same keys: CANARY itself, or a person who stops its ticket meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from harness.core import events as e
from harness.core.deployment import NodeAnswer, NodeOrder, NodeReport
from harness.core.errors import Retryable
from harness.journal import Journal
from harness.operator import Operator

ARMS: Final[tuple[e.Slot, ...]] = ("canary", "baseline")


async def reports(operator: Operator, *, of: str | None = None) -> list[NodeReport]:
    """What the nodes of the fleet tell of themselves; one that does not answer is left out, unless it is ``of``."""

    async def ask(node: str) -> NodeReport | None:
        try:
            return await operator.nodes.report(node)
        except Retryable:
            if node == of:
                raise
            return None

    return [report for report in await asyncio.gather(*map(ask, operator.nodes.names())) if report is not None]


async def without_traffic(journal: Journal, operator: Operator) -> str:
    """No traffic for the arms any more, for good: written with the number after the token, which the lock has when it
    is given back and no delivery ever gets. Returns the version that the router has in force.

    A step of this canary that a worker writes after it was stopped for a while is refused from then on, though its
    token is the delivery's own.
    """
    journal.require_newest()
    key = journal.key(f"{journal.ticket.attempt.n}/canary-off")
    return await operator.router.set_weights(dict.fromkeys(ARMS, 0.0), journal.token + 1, key)


async def taken_down(journal: Journal, operator: Operator, *, answers: bool = True) -> Sequence[NodeAnswer]:
    """Remove the arms wherever they stand, and what each node answered.

    ``answers``: whether nodes are waited for. An arm that is left standing is replaced by the next canary's.
    """
    started = journal.ticket.attempt.canary_started
    host = started.node if started is not None and answers else None
    gone = await asyncio.gather(
        *(
            _removed(journal, operator, report.node, arm, answers=answers)
            for report in await reports(operator, of=host)
            for arm in ARMS
            if arm in report.slots
        )
    )
    return [answer for answer in gone if answer is not None]


async def _removed(journal: Journal, operator: Operator, node: str, arm: e.Slot, *, answers: bool) -> NodeAnswer | None:
    key = journal.key(f"{journal.ticket.attempt.n}/canary/remove-{arm}")
    try:
        return await operator.nodes.order(node, NodeOrder(verb="remove", key=key, token=journal.token, slot=arm))
    except Retryable:
        if answers:
            raise
        return None
