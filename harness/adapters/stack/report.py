"""Says how a stack is, from evidence gathered now, not from what was recorded. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.adapters.stack.bring_up import require_answer
from harness.adapters.stack.home import Home
from harness.adapters.stack.machines import LocalMachines
from harness.adapters.stack.plan import Component, External, Plan
from harness.adapters.stack.processes import is_alive
from harness.adapters.stack.readiness import is_ready
from harness.adapters.stack.state import Record, State
from harness.core.errors import Retryable

Condition = Literal["up", "down", "degraded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentReport:
    """``degraded``: its process runs, the evidence that it serves is missing. ``since`` is UTC, ISO 8601."""

    name: str
    state: Condition
    since: str | None = None
    pid: int | None = None
    url: str | None = None
    log: str | None = None
    restarts: int | None = None
    last_exit: str | None = None
    last_exit_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StackReport:
    """The contract's document of ``harness status --json``."""

    home: str
    components: tuple[ComponentReport, ...]

    @property
    def all_up(self) -> bool:
        return all(component.state == "up" for component in self.components)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def report(home: Home, *, names: Iterable[str]) -> StackReport:
    """Looks at every component of the plan; at ``names``, all down, when the stack was never started."""
    plan = Plan.read(home.plan)
    if plan is None:
        return StackReport(
            home=str(home.root), components=tuple(ComponentReport(name=name, state="down") for name in names)
        )
    state = State.read_living(home)
    records = state.components if state is not None else {}
    components = plan.with_nodes(LocalMachines(home).nodes() if plan.node else ())
    own = (_component(home, component, records.get(component.name)) for component in components)
    return StackReport(home=str(home.root), components=(*(_external(part) for part in plan.external), *own))


def _component(home: Home, component: Component, record: Record | None) -> ComponentReport:
    log = str(home.log(component.name))
    if record is None:  # nobody supervises it
        return ComponentReport(name=component.name, state="down", url=component.url, log=log)
    process = record.process if record.process is not None and is_alive(record.process) else None
    condition: Condition = "down"
    if process is not None:
        condition = "up" if is_ready(home, component, process.pid) else "degraded"
    return ComponentReport(
        name=component.name,
        state=condition,
        since=record.since,
        pid=process.pid if process is not None else None,
        url=component.url,
        log=log,
        restarts=record.exits,
        last_exit=record.last_exit,
        last_exit_at=record.last_exit_at,
    )


def _external(part: External) -> ComponentReport:
    try:
        require_answer(part)
    except Retryable:
        return ComponentReport(name=part.name, state="down", url=part.address)
    return ComponentReport(name=part.name, state="up", url=part.address)
