"""Splitting a ticket into parts: what they may be, what they get of its budget, what is passed on to them. Pure.

A part is a ticket of its own, filed by the split of its parent and by nothing else. So no ticket can be above itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from harness.core import events as e
from harness.core.admission import failing_rules
from harness.core.command import Verb
from harness.core.errors import Invalid
from harness.core.manifest import Manifest
from harness.core.policy import Splitting
from harness.core.ticket_spec import Budget, Child, TicketSpec

POLICY: Final = "policies/splitting.yaml"
SUMMED: Final = ("usd", "tokens", "context_tokens", "steps", "tool_calls", "gpu_seconds")
"""What the parts of a ticket take from the same purse. Time is not: they run beside each other."""
COUNTED: Final = frozenset({"steps", "tool_calls"})
"""Of these a part needs one at least."""

Amounts = dict[str, float]
"""By a name of ``SUMMED``."""


@dataclass(frozen=True, slots=True)
class Above:
    """Where a ticket that is split stands, and what there is already."""

    depth: int = 0
    """How many tickets stand above it."""
    children: int = 0
    """How many parts it has."""
    total: int = 0
    """How many parts stand below the ticket at the top."""


def parts_of(
    spec: TicketSpec, children: Sequence[Child], above: Above, policy: Splitting, *, taken: Amounts,
    left_s: float | None,
) -> tuple[TicketSpec, ...]:  # fmt: skip
    """The ticket file of each part.

    Args:
        spec: the ticket that is split, with the constraints that hold for it now.
        taken: what of its budget is spent, or promised to other parts.
        left_s: what is left of its time; None where that has no limit.

    Raises:
        Invalid: a line ``children: reason`` for everything that policy or its budget does not allow.
    """
    faults = [*_too_much(children, above, policy), *_too_urgent(spec, children)]
    if spec.change is not None or spec.reverts is not None:
        faults.append("children: a ticket that names its change is not split; file the parts as tickets of their own")
    if faults:
        raise Invalid("\n".join(faults))
    budgets = shared(spec.budget, [child.budget for child in children], taken, left_s)
    return tuple(
        TicketSpec(
            type=child.type or spec.type, service=spec.service, objective=child.objective,
            acceptance_criteria=child.acceptance_criteria, priority=child.priority or spec.priority, budget=budget,
            constraints=tuple(dict.fromkeys((*spec.constraints, *child.constraints))), labels=spec.labels,
            context=child.context, children=child.children, allow_unmeasured=spec.allow_unmeasured,
        )
        for child, budget in zip(children, budgets, strict=True)
    )  # fmt: skip


def failing_parts(spec: TicketSpec, manifest: Manifest, policy: Splitting, now: datetime) -> Iterator[str]:
    """``path: reason`` of every rule that the parts in a ticket file break, and theirs, as it is filed."""
    if not spec.children:
        return
    left_s = spec.budget.wall_clock_s
    yield from failing_children(spec, spec.children, Above(), manifest, policy, now, taken={}, left_s=left_s)


def failing_children(
    spec: TicketSpec, children: Sequence[Child], above: Above, manifest: Manifest, policy: Splitting, now: datetime,
    *, taken: Amounts, left_s: float | None,
) -> Iterator[str]:  # fmt: skip
    """``children[0].path: reason`` of every rule that a part breaks, or one of its own parts; and of what ``parts_of``
    refuses."""
    try:
        parts = parts_of(spec, children, above, policy, taken=taken, left_s=left_s)
    except Invalid as error:
        yield from str(error).splitlines()
        return
    below = Above(above.depth + 1, 0, above.total + len(children))
    for number, part in enumerate(parts):
        reasons = list(failing_rules(part, manifest, now))
        if part.children:
            wall_s = part.budget.wall_clock_s
            reasons += failing_children(part, part.children, below, manifest, policy, now, taken={}, left_s=wall_s)
        yield from (f"children[{number}].{reason}" for reason in reasons)


def shared(budget: Budget, asked: Sequence[Budget], taken: Amounts, left_s: float | None) -> tuple[Budget, ...]:
    """What each part may take: what it asks for, or an equal share of what the others leave. Never more than there is.

    Raises Invalid, a line for each limit that does not reach.
    """
    faults: list[str] = []
    given: list[dict[str, Any]] = [one.model_dump(exclude_none=True) for one in asked]
    for name in SUMMED:
        most = getattr(budget, name)
        if most is None:
            continue
        left = max(0, most - taken.get(name, 0))
        named = sum(one[name] for one in given if name in one)
        silent = [one for one in given if name not in one]
        rest = left - named
        share = rest / len(silent) if silent else 0.0
        if rest < 0:
            faults.append(f"children: they ask for {named:g} {name} together, and the ticket has {left:g} left")
        elif silent and name in COUNTED and share < 1:
            faults.append(f"children: {len(silent)} of them are left {rest:g} {name}, and each needs one at least")
        for one in silent:
            one[name] = share if isinstance(most, float) else int(share)
    if left_s is not None and left_s < 1:
        faults.append("children: the ticket's wall_clock is over")
    if faults:
        raise Invalid("\n".join(faults))
    if left_s is not None:
        for one, wanted in zip(given, asked, strict=True):
            if wanted.wall_clock_s is None or wanted.wall_clock_s > left_s:
                one["wall_clock"] = f"{int(left_s)}s"
    return tuple(Budget(**one) for one in given)


def question(ended: e.ChildrenEnded) -> str | None:
    """What a person is asked when parts did not come to what they were for; None when all of them did."""
    failed = [f"{child.ticket_id} is {child.state}" for child in ended.children if child.state != "resolved"]
    if not failed:
        return None
    done = [child.ticket_id for child in ended.children if child.state == "resolved"]
    return (
        f"The ticket was split, and not all of its parts were resolved: {', '.join(failed)}; "
        f"resolved: {', '.join(done) or 'none'}. An answer has it worked on as a whole, `harness ticket split` gives "
        "it other parts, `harness ticket cancel` ends it. What should be done?"
    )


def passed_on(event: e.Event) -> Verb | None:
    """What the parts of a ticket are told when this happens to it; None for nothing."""
    match event:
        case e.TicketCancelled() | e.ApprovalDenied(final=True):
            return "cancel"
        case e.TicketPaused():
            return "pause"
        case e.TicketResumed():
            return "resume"
    return None


def _too_much(children: Sequence[Child], above: Above, policy: Splitting) -> Iterator[str]:
    """What policy does not allow. What stands in the parts' own files counts as well: it is going to be filed."""
    if not children:
        yield "children: there are none; a ticket is split into one part at least"
    if (count := above.children + len(children)) > policy.children:
        yield f"children: {count} of one ticket; {POLICY} allows {policy.children}"
    if (total := above.total + _count(children)) > policy.total:
        yield f"children: {total} parts below the ticket at the top; {POLICY} allows {policy.total}"
    if (depth := above.depth + _depth(children)) > policy.depth:
        yield f"children: parts with {depth} tickets above them; {POLICY} allows {policy.depth}"


def _too_urgent(spec: TicketSpec, children: Sequence[Child]) -> Iterator[str]:
    for number, child in enumerate(children):
        if child.priority is not None and child.priority < spec.priority:
            yield (
                f"children[{number}].priority: {child.priority} is more urgent than the ticket itself, which is "
                f"{spec.priority}"
            )


def _count(children: Iterable[Child]) -> int:
    return sum(1 + _count(child.children) for child in children)


def _depth(children: Sequence[Child]) -> int:
    return 1 + max((_depth(child.children) for child in children), default=0) if children else 0
