"""`harness ticket file`, `lint` and `revert`: reads what a person wants, checks it, appends it. Starts nothing.

Filing needs the ledger and the service's repository, and works while nothing runs: the pump begins the work.
"""

from __future__ import annotations

import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.adapters.declarations import read_yaml
from harness.agent.by_hand import IN_MAIN
from harness.bootstrap import Record, Rules, read_manifest, read_record, read_repository, read_rules
from harness.cli.render import AsJson, print_json, say
from harness.cli.ticket import By, Id, who
from harness.core.admission import failing_rules
from harness.core.criteria import CriterionSpec
from harness.core.errors import Forbidden, Invalid
from harness.core.ids import ticket_stream
from harness.core.lifecycle import ENDS
from harness.core.manifest import Manifest
from harness.core.parts import failing_parts
from harness.core.revert import delivered_by
from harness.core.signal import declared_criteria
from harness.core.ticket_spec import Context, Criterion, Objective, TicketSpec
from harness.journal import Journal
from harness.settings import Settings
from harness.stages.file import file_by_hand

AllowUnmeasured = Annotated[
    bool,
    typer.Option(
        "--allow-unmeasured",
        help="A criterion that cannot be measured has a person called, and nobody works until it can be.",
    ),
]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A ticket file, YAML or JSON.")]


def file_(
    path: Annotated[Path | None, typer.Option("--file", "-f", help="A ticket file, YAML or JSON.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="incident, improvement, maintenance, …")] = None,
    objective: Annotated[str | None, typer.Option(help="What is wanted, in a sentence.")] = None,
    accept: Annotated[
        list[str] | None, typer.Option(help="A criterion, `slow_share < 5% for 1m`; may be given often.")
    ] = None,
    constraint: Annotated[
        list[str] | None, typer.Option(help="A constraint, `requires approval`; may be given often.")
    ] = None,
    service: Annotated[str | None, typer.Option(help="The service, when more than one is registered.")] = None,
    priority: Annotated[str | None, typer.Option(help="P0 … P3.")] = None,
    budget_usd: Annotated[float | None, typer.Option(help="What the work may cost at most.")] = None,
    change: Annotated[
        str | None, typer.Option(help="A commit of the service's repository, to be carried through the stages.")
    ] = None,
    allow_unmeasured: AllowUnmeasured = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """File a ticket, from a file or from flags, and print its id. Works while nothing runs.

    With --change alone the criteria are the declared objectives and invariants.
    """
    settings, rules = Settings.load(), read_rules()
    flags: dict[str, Any] = {
        "type": type_, "objective": objective, "accept": accept, "constraint": constraint, "service": service,
        "priority": priority, "budget_usd": budget_usd, "change": change,
    }  # fmt: skip
    given = {name: value for name, value in flags.items() if value not in (None, [])}
    if path is not None and given:
        flag = next(iter(given)).replace("_", "-")
        raise Invalid(f"--{flag}: give either --file or flags; the file has a key for it")
    spec = _read(path, rules) if path is not None else _from_flags(given, rules)
    spec = _allowing(spec, allow_unmeasured)
    _print(file_spec(read_record(settings), settings, rules, spec, who(by)), as_json)


def lint(path: File, allow_unmeasured: AllowUnmeasured = False, as_json: AsJson = False) -> None:
    """Check a ticket file. Exit 2 with every `path: reason`."""
    rules = read_rules()
    spec = _allowing(_read(path, rules), allow_unmeasured)
    _require_admissible(spec, rules, read_manifest(Settings.load(), rules), datetime.now(UTC), str(path))
    if as_json:
        print_json({"file": str(path), "ok": True})
    else:
        say(f"{path}: fine")


def revert(
    ticket_id: Id,
    why: Annotated[str, typer.Option(help="Why it is taken back.")] = "",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Take back what a resolved ticket changed: files a ticket of its own, whose change is a revert, and prints its id.

    The revert goes through the same stages; when it is resolved, the first ticket is `reverted`.
    """
    settings, rules = Settings.load(), read_rules()
    record = read_record(settings)
    for stream in record.ledger.streams(ticket_stream("")):
        other = _journal(record, stream.removeprefix(ticket_stream("")))
        if other.state not in ENDS and other.spec().reverts == ticket_id:
            raise Forbidden(f"{other.ticket_id} takes {ticket_id} back already; it is {other.state}")
    spec = TicketSpec(
        type="maintenance", service=rules.service,
        objective=Objective(description=f"Take back what {ticket_id} changed"),
        acceptance_criteria=_declared(rules), context=Context(notes=why), reverts=ticket_id,
    )  # fmt: skip
    _print(file_spec(read_record(settings), settings, rules, spec, who(by)), as_json)


def _read(path: Path, rules: Rules) -> TicketSpec:
    return TicketSpec.read(read_yaml(path), str(path), service=rules.service)


def _allowing(spec: TicketSpec, allowed: bool) -> TicketSpec:
    """As its file says, or the flag."""
    return spec.model_copy(update={"allow_unmeasured": spec.allow_unmeasured or allowed})


def _from_flags(given: dict[str, Any], rules: Rules) -> TicketSpec:
    change = given.get("change")
    wanted = given.get("objective") or (f"Carry the commit {change} through" if change else None)
    criteria = tuple(map(_criterion, given.get("accept", ())))
    if not criteria and change:
        criteria = _declared(rules)
    document: dict[str, Any] = {
        "type": given.get("type", "maintenance" if change else "improvement"),
        "service": given.get("service", rules.service), "constraints": given.get("constraint", []),
        "acceptance_criteria": [one.model_dump() for one in criteria], "change": change,
    }  # fmt: skip
    if wanted is None or not criteria:
        raise Invalid("--objective and --accept: a ticket says what is wanted and how that is measured; or give --file")
    document["objective"] = {"description": wanted}
    if "priority" in given:
        document["priority"] = given["priority"]
    if "budget_usd" in given:
        document["budget"] = {"usd": given["budget_usd"]}
    return TicketSpec.read({"ticket": document}, "flags")


def _criterion(text: str) -> Criterion:
    try:
        read = CriterionSpec.parse_text(text)
    except Invalid as error:
        raise Invalid(f"--accept {text!r}: {error}") from None
    length = read.duration.text if read.duration else None
    return Criterion(metric=read.metric, condition=read.condition.text, duration=length)


def _declared(rules: Rules) -> tuple[Criterion, ...]:
    return declared_criteria(rules.slos, rules.invariants, rules.profile.verify.window_s)


def file_spec(record: Record, settings: Settings, rules: Rules, spec: TicketSpec, by: str) -> str:
    """File the ticket that a person wrote; its id. Raises Invalid or Forbidden with every reason why it cannot be."""
    _require_admissible(spec, rules, read_manifest(settings, rules), record.clock.now(), "ticket")
    if spec.change is not None:
        try:
            repository = read_repository(settings, rules)
        except Invalid:  # says where; whoever files over HTTP is not to know
            raise Invalid(f"change: {rules.service} has no repository here; `harness up` makes it") from None
        if not repository.log(repository.main(), spec.change):
            raise Forbidden(f"change: {spec.change} {IN_MAIN}")
    if spec.reverts is not None:
        delivered_by(_journal(record, spec.reverts).ticket)
    return file_by_hand(
        spec, by=by, request=str(uuid.uuid4()), ledger=record.ledger, blobs=record.blobs, clock=record.clock
    )


def _require_admissible(spec: TicketSpec, rules: Rules, manifest: Manifest, now: datetime, where: str) -> None:
    if reasons := [*failing_rules(spec, manifest, now), *failing_parts(spec, manifest, rules.splitting, now)]:
        raise Invalid("\n".join(f"{where}: {reason}" for reason in reasons))


def _journal(record: Record, ticket_id: str) -> Journal:
    return Journal(ticket_id, ledger=record.ledger, blobs=record.blobs, clock=record.clock)


def _print(ticket_id: str, as_json: bool) -> None:
    if as_json:
        print_json({"id": ticket_id})
        return
    print(ticket_id)
    print(f"filed; what becomes of it: harness ticket show {ticket_id}", file=sys.stderr)
