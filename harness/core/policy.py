"""Policy as values: how a service is watched and how its changes are delivered. Data from ``policies/``; pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from harness.core.contract import Promise
from harness.core.declaration import Declaration, Seconds, Share
from harness.core.deployment import Tells
from harness.core.manifest import Risk
from harness.core.trend import BLOCKS, WINDOWS

RISKS: Final[tuple[Risk, ...]] = ("read", "low", "medium", "high")
"""From least to most."""


class Admission(Declaration):
    """Baselines: measured over ``baseline_s`` seconds that end ``gap_s`` before the signal's cause can have begun."""

    baseline_s: float = Field(gt=0)
    gap_s: float = Field(ge=0)
    attempts: int = Field(ge=1, le=10)


class Session(Declaration):
    """Limits of one agent session; hitting one is an exit status."""

    steps: int = Field(ge=1)
    repeats: int = Field(ge=2)
    """The same call with the same answer so many times ends the session."""
    wall_clock_s: float = Field(gt=0)


class CanaryStep(Declaration):
    """Each arm's share of the traffic, and the least time it is held."""

    share: float = Field(gt=0, le=0.5)
    hold_s: float = Field(gt=0)


class Canary(Declaration):
    """The plan of a canary; ``planned_per_arm`` is the sample at which it ends, from the power it claims."""

    steps: tuple[CanaryStep, ...] = Field(min_length=1)
    planned_per_arm: int = Field(ge=1)
    first_look_per_arm: int = Field(ge=1)
    looks: int = Field(ge=1)
    extension_s: float = Field(ge=0)
    alpha: float = Field(gt=0, lt=1)
    design_effect: dict[str, float] = Field(default={})
    sick_design_effect: dict[str, float] = Field(default={})
    """Of a metric that a repair has to improve: where it is sick, bad requests come in clusters, as those of a key."""
    keys_per_arm: int = Field(ge=1)
    """The key is the unit of randomisation: fewer keys in an arm than this and the canary is insufficient."""

    def clustering(self, metric: str) -> float:
        """The design effect of a metric that is sick."""
        return self.sick_design_effect.get(metric, self.design_effect.get(metric, 1.0))


class Operation(Declaration):
    """How an action of the catalog is tried: after its first unit, limits are watched for ``hold_s`` seconds.

    ``planned``: requests that have to be seen by then; ``extension_s``: how much longer they are waited for;
    ``ready_within_s``: how long a node that was started may take until it serves.
    """

    hold_s: float = Field(gt=0)
    planned: int = Field(ge=1)
    looks: int = Field(ge=1)
    extension_s: float = Field(ge=0)
    alpha: float = Field(gt=0, lt=1)
    ready_within_s: float = Field(gt=0)


class Deploy(Declaration):
    """``gate_s``: how long invariants are watched on a swapped node before the next one is touched."""

    gate_s: float = Field(ge=0)


class Verify(Declaration):
    """The window of live traffic after the last swap, and how often within it every criterion must hold."""

    window_s: float = Field(gt=0)
    min_samples: int = Field(ge=1)
    ticks: int = Field(ge=1)
    """Evaluations, one a second, the last at the window's end."""


class Flapping(Declaration):
    """A signal that began or ended ``transitions`` times ``within`` a while flaps: its next ticket says so, and what is
    declared is asked over as long, not over a moment of peace. So there is one such ticket in that while at most."""

    transitions: int = Field(ge=2)
    within_s: Seconds = Field(alias="within", gt=0)


class Causes(Declaration):
    """How many signals become few tickets.

    ``together``: signals of one kind that begin so soon after each other may be grouped into one ticket.
    ``quiet_period``: a cause that fires again so soon after its ticket ended has come back.
    """

    together_s: Seconds = Field(alias="together", ge=0)
    flapping: Flapping
    quiet_period_s: Seconds = Field(alias="quiet_period", ge=0)


class NoData(Declaration):
    """An objective that is not seen for ``after`` gets a ticket; once it is seen for as long again, that ends."""

    after_s: Seconds = Field(alias="after")
    priority: Literal["P0", "P1", "P2", "P3"]


class Queue(Declaration):
    """Whose turn it is at the delivery lock: a delivery that waits for ``aging`` counts as one priority more urgent."""

    aging_s: Seconds = Field(alias="aging", gt=0)


class Ahead(Declaration):
    """What is read of the past for what may come: trends, and capacity that nobody needs.

    ``breach_within_s``: how soon a limit has to be reached for somebody to care now. ``unspent``: the part of every
    error budget that was left, where capacity may be spare.
    """

    look_back_s: Seconds = Field(alias="look_back")
    breach_within_s: Seconds = Field(alias="breach_within")
    unspent: Share

    @model_validator(mode="after")
    def _bounds_make_sense(self) -> Self:
        if self.look_back_s % (BLOCKS * WINDOWS):
            raise ValueError(f"look_back: is no whole multiple of {BLOCKS * WINDOWS}s, its number of windows; try `7d`")
        if not 0 < self.unspent < 1:
            raise ValueError(f"unspent: {self.unspent:%} tells nothing; allowed above 0% and below 100%")
        return self

    @property
    def window_s(self) -> float:
        """What each value is measured over."""
        return self.look_back_s / (BLOCKS * WINDOWS)


class Slower(Declaration):
    """When a check counts as slower than it used to be: in the last ``runs`` trees on which it passed, by this part."""

    runs: int = Field(ge=12, le=60)
    """With fewer no shift is sure, with more it is found late."""
    by: Share

    @model_validator(mode="after")
    def _asks_what_can_be_given(self) -> Self:
        if not 0.25 <= self.by <= 10:
            raise ValueError(
                f"by: {self.by:%} is not allowed, 25% to 1000% are: half of what was lost is asked for, and a tenth"
            )
        return self


class Opportunities(Declaration):
    """``policies/opportunities.yaml``: how often something that works is touched to be made better.

    ``again_after_s``: a value that nothing won against is challenged again only when it is so old. ``session_s``: how
    long a session may take, which nobody waits for.
    """

    per_week: int = Field(ge=0)
    priority: Literal["P0", "P1", "P2", "P3"]
    again_after_s: Seconds = Field(alias="again_after")
    session_s: Seconds = Field(alias="session")
    ahead: Ahead | None = None
    """Where it is left out, nobody looks ahead."""
    slower: Slower | None = None
    """Where it is left out, nobody looks at how long checks run."""


class Splitting(Declaration):
    """``policies/splitting.yaml``: into how much a ticket may be split, by whoever."""

    depth: int = Field(ge=1, le=10)
    """How many tickets may stand above a part."""
    children: int = Field(ge=1, le=100)
    """How many parts a ticket may have, over all its splits."""
    total: int = Field(ge=1, le=1000)
    """How many parts may stand below a ticket that is no part itself."""


class Approvals(Declaration):
    """``policies/approvals.yaml``: what a change risks, and from which risk on a person is asked.

    A path with a wildcard is matched as a shell does; one that ends in ``/`` covers what is below it.
    """

    risk_of_kind: dict[Literal["code", "config", "operation"], Risk]
    high_paths: tuple[str, ...] = ()
    high_from_files: int = Field(ge=1)
    """A change of so many files is high: nobody sees at a glance what it does."""
    ask_from: Risk

    def risk(self, kind: Literal["code", "config", "operation"], files: tuple[str, ...]) -> tuple[Risk, str]:
        """The highest risk that applies, and why."""
        if self.high_from_files <= len(files):
            return "high", f"it touches {len(files)} files, {self.high_from_files} or more are of high risk"
        if touched := [file for file in files if any(_covers(path, file) for path in self.high_paths)]:
            return "high", f"it touches {', '.join(sorted(touched))}, which policy holds for a high risk"
        risk = self.risk_of_kind.get(kind, "high")
        return risk, f"a change of kind {kind} is of {risk} risk"

    def asks(self, risk: Risk) -> bool:
        """Whether a person is asked."""
        return RISKS.index(risk) >= RISKS.index(self.ask_from)


def _covers(path: str, file: str) -> bool:
    return file.startswith(path) if path.endswith("/") else fnmatchcase(file, path)


class Profile(Declaration):
    """One way to watch and deliver: ``demo`` is scaled so that a fault is found, fixed and verified in a minute.

    ``stall``: how long a stage tries what does not answer, a way back as long again; then it ends with a verdict.
    """

    profile: str
    stall_s: Seconds = Field(alias="stall")
    admission: Admission
    session: Session
    canary: Canary
    operation: Operation
    deploy: Deploy
    verify: Verify
    causes: Causes
    no_data: NoData
    queue: Queue


class Registration(Declaration):
    """A service under care, its profile, what its users were promised whatever a ticket is about, and where its running
    releases tell by which configuration they run."""

    service: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    profile: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    promises: tuple[Promise, ...] = ()
    tells: Tells | None = None


class Registry(Declaration):
    """``policies/services.yaml``. One service for now: nodes and routes of a second one are not kept apart yet."""

    services: tuple[Registration, ...] = Field(min_length=1, max_length=1)
