"""The ticket file that people and alerts write: its form, and what is refused in it. Pure; touches nothing."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from harness.core import units
from harness.core.constraint import Constraint
from harness.core.criteria import CriterionSpec
from harness.core.declaration import Declaration
from harness.core.errors import Invalid

Word = Annotated[str, Field(max_length=200)]
Link = Annotated[str, Field(max_length=2_000)]
MANY = 100
"""So many criteria, constraints, links a ticket has at most."""


class Objective(Declaration):
    """What the ticket wants, in a sentence."""

    description: str = Field(min_length=1, max_length=2000)


class Criterion(Declaration):
    """An acceptance criterion as written: ``slow_share``, ``< 10%``, ``for 10s``.

    Without a duration: one window of the profile's verification.
    """

    metric: Word
    condition: Word
    duration: Word | None = None

    def spec(self) -> CriterionSpec:
        """The parsed form; raises Invalid naming what was not understood."""
        return CriterionSpec.parse(metric=self.metric, condition=self.condition, duration=self.duration)


class Context(Declaration):
    """What else the agent should know: links and notes. Data, never instruction."""

    links: tuple[Link, ...] = Field(default=(), max_length=MANY)
    notes: str = Field(default="", max_length=20_000)


def _length(text: str) -> str:
    try:
        units.seconds(text)
    except Invalid as error:
        raise ValueError(str(error)) from None
    return text


def _number(given: Any) -> Any:
    if isinstance(given, bool | str):
        shown = json.dumps(given) if len(str(given)) <= 40 else f"text of {len(str(given))} characters"
        raise ValueError(f"{shown} is no number; write it like `2`, without quotes")
    return given


Number = BeforeValidator(_number)
"""Of a document: what only looks like one was meant as something else."""


class Budget(Declaration):
    """What the work on a ticket may take at most, over all attempts; a limit that is absent is the profile's own."""

    usd: Annotated[float | None, Number] = Field(default=None, ge=0)
    tokens: Annotated[int | None, Number] = Field(default=None, ge=0)
    context_tokens: Annotated[int | None, Number] = Field(default=None, ge=0)
    steps: Annotated[int | None, Number] = Field(default=None, ge=1)
    tool_calls: Annotated[int | None, Number] = Field(default=None, ge=1)
    gpu_seconds: Annotated[float | None, Number] = Field(default=None, ge=0)
    wall_clock: Annotated[str, AfterValidator(_length)] | None = None

    @property
    def wall_clock_s(self) -> float | None:
        """In seconds."""
        return units.seconds(self.wall_clock) if self.wall_clock is not None else None

    @property
    def most_steps(self) -> int | None:
        """Every step of an agent is one call of a tool, so that the smaller of both limits holds."""
        return min((most for most in (self.steps, self.tool_calls) if most is not None), default=None)


class Labels(Declaration):
    """Whom the ticket is for; travels with it."""

    tenant: Word | None = None
    team: Word | None = None
    project: Word | None = None
    use_case: Word | None = None


def _understood(text: str) -> str:
    try:
        Constraint.parse(text)
    except Invalid as error:
        raise ValueError(str(error)) from None
    return text


ConstraintText = Annotated[str, Field(max_length=200), AfterValidator(_understood)]
Kind = Literal["incident", "improvement", "maintenance", "investigation", "reflection"]
Priority = Literal["P0", "P1", "P2", "P3"]
TicketId = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]{0,15}-[1-9][0-9]{0,8}$")]


class Child(Declaration):
    """A part of a ticket, to be verified by itself. What it leaves out is as its parent has it.

    It keeps to its parent's constraints beside its own, and is no more urgent; their budgets together are its parent's.
    """

    type: Kind | None = None
    objective: Objective
    acceptance_criteria: tuple[Criterion, ...] = Field(min_length=1, max_length=MANY)
    constraints: tuple[ConstraintText, ...] = Field(default=(), max_length=MANY)
    priority: Priority | None = None
    budget: Budget = Budget()
    context: Context = Context()
    children: tuple[Child, ...] = ()


class TicketSpec(Declaration):
    """The ticket file (``contract.md``): the same format from people, alerts and agents.

    ``change``: a commit that a person made, to be carried through the stages. ``reverts``: the ticket whose change is
    to be taken back. Both are worked by the harness itself, without an agent. ``children``: the parts into which the
    ticket is split once it is admitted. ``allow_unmeasured``: a criterion that cannot be measured has a person called
    in place of a refusal.
    """

    id: TicketId | None = None
    type: Kind
    service: str
    objective: Objective
    acceptance_criteria: tuple[Criterion, ...] = Field(min_length=1, max_length=MANY)
    constraints: tuple[ConstraintText, ...] = Field(default=(), max_length=MANY)
    priority: Priority = "P2"
    budget: Budget = Budget()
    labels: Labels = Labels()
    context: Context = Context()
    children: tuple[Child, ...] = ()
    allow_unmeasured: bool = Field(
        default=False,
        description="A criterion that cannot be measured has a person called, and nobody works until it can be; "
        "without this it is refused.",
    )
    change: str | None = Field(default=None, min_length=4, max_length=200)
    reverts: TicketId | None = None

    @classmethod
    def read(cls, document: Any, where: str, *, service: str | None = None) -> TicketSpec:
        """The spec in ``{"ticket": {...}}``; raises Invalid with every ``path: reason``.

        Args:
            service: what a file that names none is for.
        """
        if not isinstance(document, dict) or set(document) != {"ticket"}:
            raise Invalid(f"{where}: a ticket file has exactly one key, `ticket`")
        given = document["ticket"]
        if service is not None and isinstance(given, dict):
            given = {"service": service, **given}
        return cls.parse(given, f"{where}: ticket")

    def limits(self) -> tuple[Constraint, ...]:
        """The constraints as understood."""
        return tuple(Constraint.parse(text) for text in self.constraints)

    def document(self) -> dict[str, Any]:
        """The JSON that ``read`` reads, without what was left out."""
        return {"ticket": self.model_dump(mode="json", exclude_none=True)}
