"""The form of an incident's file: reads it, says ``path: reason`` of every fault in it. Touches no other file but those
that it names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, ValidationError, model_validator

from scenarios.series import Commit, Edit

Words = Annotated[str, Field(min_length=1)]
Share = Annotated[StrictFloat, Field(ge=0, le=1)]


class InvalidScenario(Exception):
    """The file is no incident; the message has a line ``path: reason`` for every fault."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EditForm(_Part):
    """Replace the one place in ``path`` (of the service's repository) that reads ``find`` by ``replace``.

    ``or_replace``: other texts that may stand there instead; the seed draws one of all.
    """

    path: Words
    find: Words
    replace: str
    or_replace: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _stays_inside(self) -> EditForm:
        if self.path.startswith("/") or ".." in self.path.split("/"):
            raise ValueError(f"path: {self.path!r} leads out of the repository; write it relative to its root")
        return self


class CommitForm(_Part):
    """One commit: edits that apply in any order of the commits, as ``author`` (``Name <address>``).

    ``role``: ``fault`` brings the trouble, ``decoy`` looks as if it did, ``candidate`` came along.
    """

    author: Annotated[str, Field(pattern=r"^[^<>]+ <[^<>\s]+@[^<>\s]+>$")]
    message: Words
    role: Literal["fault", "decoy", "candidate"]
    edits: Annotated[tuple[EditForm, ...], Field(min_length=1)]


class Trouble(_Part):
    """Commits that are released together, machines that die, or both.

    ``beside``: another incident's file, whose candidates are released too. ``lost_machines``: how many; the seed draws
    which. ``of``: another incident's file, whose fault this is.
    """

    series: Annotated[tuple[CommitForm, ...], Field(min_length=1)] = ()
    beside: str | None = None
    lost_machines: Annotated[StrictInt, Field(ge=1)] | None = None
    of: str | None = None

    @model_validator(mode="after")
    def _is_some(self) -> Self:
        own = bool(self.series) or self.lost_machines is not None
        if self.of is not None and (own or self.beside is not None):
            raise ValueError("of: is the whole fault of another incident; leave series, beside and lost_machines out")
        if self.of is None and not own:
            raise ValueError("nothing happens; give a series or lost_machines, or write `fault: null`")
        if self.series and not any(commit.role == "fault" for commit in self.series):
            raise ValueError("series: no commit has the role fault; without one write `fault: null`")
        return self


class Later(Trouble):
    """A fault that comes ``after_s`` seconds after the one before it; at once when that is 0."""

    after_s: Annotated[StrictFloat, Field(ge=0, le=600)] = 0.0


class Fault(Trouble):
    """What goes wrong; ``then``: what else does, in this order."""

    then: tuple[Later, ...] = ()

    @property
    def steps(self) -> tuple[Trouble, ...]:
        """All of it, in order."""
        return (self, *self.then)


class Cheat(_Part):
    """A way to end the alarm that does not make the users well; the oracle has to see through it.

    One of: ``edits``, a commit on top of the incident's release; ``stops``, so many nodes (0: all) serve no more;
    ``restarts``, every node restarts its release so many times; ``nothing`` is done, and what is sick stays left out.
    ``refused_by``: what of the pipeline stops it where it is proposed like any other change; ``nobody``: it is none.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    why: Words
    edits: tuple[EditForm, ...] = ()
    stops: Annotated[StrictInt, Field(ge=0)] | None = None
    restarts: Annotated[StrictInt, Field(ge=1)] | None = None
    nothing: StrictBool = False
    refused_by: Literal["protected paths", "tests", "canary", "preconditions", "nobody"]

    @model_validator(mode="after")
    def _is_one_thing(self) -> Cheat:
        given = [bool(self.edits), self.stops is not None, self.restarts is not None, self.nothing]
        if sum(given) != 1:
            raise ValueError("give one of: edits, stops, restarts, nothing")
        return self


class ExpectedTicket(_Part):
    """The ticket that the incident should make, by ``signal``: ``slo:NAME``, ``invariant:NAME``, ``opportunity:NAME``.

    An opportunity raises no alarm: it is filed as a timer would at night, by ``harness opportunity file``.
    """

    type: Literal["incident", "improvement", "maintenance", "investigation"] = "incident"
    signal: Annotated[str, Field(pattern=r"^(slo|invariant|opportunity):[a-z][a-z0-9_-]*$")]


class Expects(_Part):
    """How it has to end; ``none``: with no ticket at all. ``attempts``: how many it takes, when that is known.

    ``tickets``: where several faults make a ticket each, all of which end so.
    """

    outcome: Literal["resolved", "escalated", "none"]
    ticket: ExpectedTicket | None = None
    tickets: Annotated[tuple[ExpectedTicket, ...], Field(min_length=2)] = ()
    attempts: Annotated[StrictInt, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _says_it_once(self) -> Expects:
        if self.tickets and (self.ticket is not None or self.attempts is not None or self.outcome == "none"):
            raise ValueError("tickets: is for several that end the same; leave ticket and attempts out")
        return self


class Oracle(_Part):
    """How users are asked, and what their answers say. Shares are of all requests, 0..1; slow includes errors."""

    requests: Annotated[StrictInt, Field(ge=1, le=100_000)]
    slow_ms: Annotated[StrictFloat, Field(gt=0)]
    healthy_slow_share_below: Share = 0.10
    healthy_error_share_below: Share = 0.01
    healthy_wrong_denial_share_below: Share = 0.01
    healthy_over_admission_share_below: Share = 0.10
    """Of the checks beyond the promised burst, of which none should be admitted."""
    healthy_nodes_at_least: Annotated[StrictInt, Field(ge=1)] | None = None
    """So many nodes have to answer: where what is left carries the load, users do not notice yet that one is gone."""
    faulty_slow_share_above: Share | None = None
    faulty_error_share_above: Share | None = None
    faulty_wrong_denial_share_above: Share | None = None
    cheaper_by: Share | None = None
    """Of what users cannot see: by which part a check takes less of the service's CPU time than with the fault."""

    @property
    def knows_the_fault(self) -> bool:
        """Whether it says by what the fault is seen."""
        return (self.faulty_slow_share_above, self.faulty_error_share_above, self.faulty_wrong_denial_share_above) != (
            None, None, None,
        )  # fmt: skip


class Scenario(_Part):
    """An incident: its fault as commits, how it has to end, and how users tell. Names the service and its profile."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    class_: Annotated[str, Field(alias="class", pattern=r"^[a-z][a-z -]*$")]
    service: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    profile: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    story: Words
    default: StrictBool = False
    """Played when no incident is named."""
    fault: Fault | None
    expects: Expects
    oracle: Oracle
    cheats: tuple[Cheat, ...] = ()

    @model_validator(mode="after")
    def _names_cheats_apart(self) -> Scenario:
        names = [cheat.name for cheat in self.cheats]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"cheats: {', '.join(twice)} is named twice")
        return self

    @model_validator(mode="after")
    def _can_be_told(self) -> Scenario:
        # Users need not notice that a machine died: what is left carries the load.
        seen_by_users = self.fault is not None and any(step.series for step in self.fault.steps)
        told = self.oracle.knows_the_fault or self.oracle.cheaper_by is not None
        if seen_by_users and self.expects.outcome != "none" and not told:
            known = [name for name in Oracle.model_fields if name.startswith(("faulty_", "cheaper_"))]
            raise ValueError(f"oracle: says not by what the fault is seen; give one of: {', '.join(known)}")
        return self

    def document(self) -> dict[str, Any]:
        """As JSON, every default filled in."""
        return self.model_dump(mode="json", by_alias=True)


def read_scenario(path: Path) -> Scenario:
    """The incident in a file, with all that it takes from other incidents' files, and the cheats of the one beside it
    which it does not name itself. Raises InvalidScenario."""
    scenario = _parsed(path)
    if scenario.fault is None:
        return scenario
    whole = [
        _whole(step, path, "fault" if number == 0 else f"fault.then[{number - 1}]")
        for number, step in enumerate(scenario.fault.steps)
    ]
    fault = whole[0] | {"then": whole[1:]}
    beside = _other(path, scenario.fault.beside, "fault.beside").cheats if scenario.fault.beside else ()
    own = {cheat.name for cheat in scenario.cheats}
    cheats = [*scenario.cheats, *(cheat for cheat in beside if cheat.name not in own)]
    parts = {"fault": fault, "cheats": [cheat.model_dump(exclude_unset=True) for cheat in cheats]}
    return _validated(scenario.model_dump(by_alias=True, exclude_unset=True) | parts, path)


def _whole(step: Trouble, path: Path, place: str) -> dict[str, Any]:
    """A fault with what it takes from others: the fault of one, the candidates of one beside it."""
    given = step.model_dump(exclude_unset=True, exclude={"then", "of"})
    if step.of is not None:
        other = _other(path, step.of, f"{place}.of").fault
        if other is None or other.then or other.of is not None:
            raise InvalidScenario(
                f"{path}: {place}.of: {step.of} has no fault, or more than one; name one that has one"
            )
        given |= _whole(other, path.parent / step.of, place)
    if step.beside is not None:
        other = _other(path, step.beside, f"{place}.beside").fault
        candidates = [one.model_dump() for one in (other.series if other else ()) if one.role == "candidate"]
        given |= {"series": [*given.get("series", ()), *candidates]}
    return given


def _other(path: Path, name: str, place: str) -> Scenario:
    try:
        return _parsed(path.parent / name)
    except InvalidScenario as error:
        raise InvalidScenario(f"{path}: {place}: {error}") from None


def series_of(scenario: Scenario) -> list[Commit]:
    """The commits of its faults as ``scenarios/series.py`` takes them, in this order; none without a fault."""
    return [commit for step in (scenario.fault.steps if scenario.fault else ()) for commit in commits_of(step)]


def commits_of(step: Trouble) -> list[Commit]:
    """Those of one fault."""
    series: list[Any] = [commit.model_dump(mode="json", exclude_defaults=True) for commit in step.series]
    return series


def edits_of(cheat: Cheat) -> list[Edit]:
    """The edits of a cheat as ``scenarios/series.py`` takes them."""
    return [Edit(path=one.path, find=one.find, replace=one.replace) for one in cheat.edits]


def schema() -> str:
    """The whole text of ``docs/schemas/scenario.schema.json``."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps({**dialect, **Scenario.model_json_schema(by_alias=True)}, indent=2) + "\n"


def _parsed(path: Path) -> Scenario:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidScenario(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidScenario(f"{path}: is no YAML: {' '.join(str(error).split())}") from None
    return _validated(document, path)


def _validated(document: Any, path: Path) -> Scenario:
    try:
        return Scenario.model_validate(document)
    except ValidationError as error:
        found = [fault for fault in error.errors(include_url=False) if not _follows(fault)]
        faults = [": ".join(part for part in (str(path), _place(fault), _reason(fault)) if part) for fault in found]
        raise InvalidScenario("\n".join(faults)) from None


def _follows(fault: Mapping[str, Any]) -> bool:
    """Pydantic calls a list too short when its items are faulty; those are told anyway."""
    return bool(fault["type"] == "too_short" and len(fault["input"]) >= fault["ctx"]["min_length"])


def _place(fault: Mapping[str, Any]) -> str:
    """Where it is; of a fault of the whole, nothing: its reason names what does not fit together."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]]
    return "".join(parts).lstrip(".")


def _reason(fault: Mapping[str, Any]) -> str:
    match fault["type"]:
        case "missing":
            return "is missing"
        case "value_error":
            return str(fault["ctx"]["error"])
        case "extra_forbidden":
            return f"unknown key; {_known(fault['loc'])}"
        case "model_type":
            whole = "" if fault["loc"] else "the document "
            return f"{whole}must be a mapping with keys, not {type(fault['input']).__name__}"
    given = "" if isinstance(fault["input"], dict | list) else f", not {fault['input']!r}"
    return f"{fault['msg'][0].lower()}{fault['msg'][1:]}{given}"


def _known(loc: tuple[int | str, ...]) -> str:
    """The keys that may stand where an unknown one does, and the nearest."""
    form: type[_Part] = Scenario
    for part in loc[:-1]:
        if isinstance(part, str):
            form = _FORMS[part]
    keys = [field.alias or name for name, field in form.model_fields.items()]
    near = get_close_matches(str(loc[-1]), keys, n=1)
    return f"allowed: {', '.join(keys)}" + (f"; nearest: {near[0]}" if near else "")


_FORMS: dict[str, type[_Part]] = {
    "fault": Fault, "then": Later, "series": CommitForm, "edits": EditForm, "expects": Expects,
    "ticket": ExpectedTicket, "tickets": ExpectedTicket, "oracle": Oracle, "cheats": Cheat,
}  # fmt: skip
