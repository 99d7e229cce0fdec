"""What has to hold of the harness itself: its record, and that what runs is what is declared. Decides; touches nothing.

Of a delivery that is under way nothing is said: it changes what runs, and its own gates hold it. Whether a node serves
anything, and is healthy, is not asked here either: that is for objectives and invariants of the service.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from pydantic import Field, field_validator

from harness.core import events as e
from harness.core.declaration import Declaration, Seconds
from harness.core.deployment import NodeReport, RunningRelease
from harness.core.errors import Invalid
from harness.core.invariant import InvariantState, State
from harness.core.ticket import Ticket

Name = Literal["ledger_chain", "resolved_with_evidence", "releases_on_record", "declared_runs", "declared_fleet"]
NAMES: Final[tuple[Name, ...]] = get_args(Name)
HARNESS: Final = "harness"


def about_itself(signal: str | None) -> bool:
    """Whether the signal of this name, ``invariant:ledger_chain``, is about the harness."""
    kind, _, name = (signal or "").partition(":")
    return kind == "invariant" and name in NAMES


class Structural(Declaration):
    """An invariant of the harness itself, looked at every few seconds. ``for``: it is broken once it failed so long."""

    name: Name
    for_s: Seconds = Field(alias="for")
    on_violation: Literal["call_for_help"]

    @field_validator("on_violation", mode="before")
    @classmethod
    def _is_for_a_person(cls, given: Any) -> Any:
        if given in ("auto_remediate", "open_ticket", "block_deploys"):
            raise ValueError(
                f"{given!r} cannot be done here: what breaks is the harness itself, which no agent may change and no "
                "delivery repairs; write call_for_help"
            )
        return given


class StructuralFile(Declaration):
    """``invariants/harness.yaml``."""

    structural: tuple[Structural, ...] = Field(min_length=1)


def parse_structural(document: Any, where: str, taken: Collection[str]) -> tuple[Structural, ...]:
    """The harness's own invariants; ``taken``: names of a service's. Raises Invalid, a line a fault."""
    own = StructuralFile.parse(document, where).structural
    names = [one.name for one in own]
    for name in names:
        if names.count(name) > 1 or name in taken:
            raise Invalid(f"{where}: structural: {name} is declared twice; give each a name of its own")
    return own


@dataclass(frozen=True, slots=True)
class Found:
    """Why it does not hold (empty when it does), or why nobody can tell."""

    broken: str = ""
    unknown: str = ""


def step(one: Structural, previous: InvariantState | None, found: Found, at_s: float) -> InvariantState:
    """The state after what was found at ``at_s``; violated once it was broken for as long as ``for`` says."""
    state: State = "no_data" if found.unknown else "ok"
    failing_since_s = None
    if found.broken:
        before = previous.failing_since_s if previous else None
        failing_since_s = at_s if before is None else before
        state = "violated" if at_s - failing_since_s >= one.for_s else "pending"
    since_s = previous.since_s if previous is not None and previous.state == state else at_s
    return InvariantState(state, since_s, None, found.broken or found.unknown or "it holds", failing_since_s)


def unproven(ticket: Ticket) -> str:
    """Why a ticket that says to have met its criteria has not shown that; empty when it has, or says nothing."""
    met = next((one.verification for one in reversed(ticket.attempts) if one.verification), None)
    if not isinstance(met, e.CriteriaMet):
        return ""
    judged = {(one.metric, one.condition): one for one in met.criteria}
    wanted = [(one.metric, one.condition) for one in ticket.admitted.criteria] if ticket.admitted else []
    for metric, condition in wanted or [("no criterion", "was admitted")]:
        one = judged.get((metric, condition))
        if one is None:
            return f"{ticket.id} is resolved, and {metric} {condition} was never judged"
        if not one.passes or (one.measured.value is None and one.left_to is None):
            return f"{ticket.id} is resolved, and {metric} {condition} was not met by any measurement"
    return ""


COMMITS: Final[Mapping[str, tuple[str, ...]]] = {
    e.MainMoved.__name__: ("before", "after"),
    e.CanaryStarted.__name__: ("canary", "baseline"),
    e.NodeSwapped.__name__: ("before", "after"),
    e.ReleaseDeployed.__name__: ("commit",),
    e.RolledBack.__name__: ("commit",),
}
"""Event → its fields that say which commits the harness has had served."""


def on_record(kind: str, data: Mapping[str, Any]) -> list[str]:
    """The commits of which this event says that they were served, and by whom."""
    if kind == e.ReleaseObserved.__name__ and data["actor"] != HARNESS:
        return [data["after"]]
    return [data[field] for field in COMMITS.get(kind, ())]


def unrecorded(reports: Iterable[NodeReport], recorded: Iterable[str], main: str) -> str:
    """Which release runs under the harness's name, and neither the ledger nor main knows it; empty for none."""
    known = {*recorded, main}
    return "; ".join(
        f"{report.node} serves {release.commit[:12]} in {slot} since {release.since.isoformat(timespec='seconds')}, as "
        "if by the harness, and no event has it"
        for report in reports
        for slot, release in report.slots.items()
        if release.actor == HARNESS and release.commit not in known
    )


def drift(
    reports: Iterable[NodeReport], *, main: str, tree: str, configuration: tuple[str, str] | None,
    weights: Mapping[str, float],
) -> str:  # fmt: skip
    """How what runs is not what is declared, while nothing is delivered; empty when it is.

    ``main`` and its ``tree`` say what every node serves; ``configuration``: its file and SHA-256 there.
    ``weights``: the arms' shares of the traffic. Nodes that don't answer are not asked.
    """
    found = []
    for report in reports:
        stable = report.slots.get("stable")
        if stable is not None and stable.tree != tree:
            found.append(f"{report.node} serves {stable.commit[:12]} by {stable.actor}, and main is {main[:12]}")
        elif stable is not None:
            found += _not_as_started(report.node, stable, configuration)
        arms = sorted(slot for slot in report.slots if slot != "stable")
        if arms:
            found.append(f"{report.node} has a release in {', '.join(arms)}, and nothing is delivered")
    shares = {arm: share for arm, share in weights.items() if share}
    found += [f"{arm} has {share:.1%} of the traffic, and nothing is delivered" for arm, share in shares.items()]
    return "; ".join(found)


def _not_as_started(node: str, release: RunningRelease, configuration: tuple[str, str] | None) -> list[str]:
    """How a release of the right tree is another one all the same: its folder is altered, or it runs by other files."""
    found = []
    if release.altered:
        found.append(f"{node} serves {release.commit[:12]} from a folder with {', '.join(release.altered)} altered")
    if configuration and release.told and not configuration[1].startswith(release.told):
        file, declared = configuration
        found.append(f"{node} says it runs by {file} {release.told}, and main's is {declared[: len(release.told)]}")
    return found
