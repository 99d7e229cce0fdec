"""What a service declares about itself in ``service.yaml``. Pure, touches nothing.

A metric's values are in the base unit of its dimension (a share is 0..1, a latency in seconds); ``unit`` is for people.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, WithJsonSchema, model_validator
from pydantic.json_schema import SkipJsonSchema

from harness.core.bisect import Difference, Ratio, Scale
from harness.core.criteria import Direction, check_seconds_of
from harness.core.declaration import Bytes, Declaration, RepositoryPath, Seconds, Share
from harness.core.errors import Invalid
from harness.core.slo_documents.promql import Selectors
from harness.core.units import UNITS, choices

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
Risk = Literal["read", "low", "medium", "high"]
Command = Annotated[tuple[str, ...], Field(min_length=1)]

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_SELECTOR = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(\{.*\})?")


class Build(Declaration):
    """The locked environment of a release, and where its packages lie."""

    lock: RepositoryPath
    python_path: RepositoryPath = "."


class Run(Declaration):
    """How a release is started and stopped; ``{socket}`` is the Unix socket that it has to listen on."""

    command: Command
    health: str = Field(pattern="^/")
    drain: str = Field(pattern="^/")
    stop_grace_s: Seconds = Field(alias="stop_grace")

    @model_validator(mode="after")
    def _known_placeholders(self) -> Self:
        _check_placeholders(self.command, {"socket"})
        return self


class Check(Declaration):
    """A command that a change has to pass, run in the sandbox; ``{tree}`` is the tree under test."""

    name: Name
    command: Command
    lock: RepositoryPath
    timeout_s: Seconds = Field(alias="timeout")
    memory_bytes: Bytes = Field(alias="memory")

    @model_validator(mode="after")
    def _known_placeholders(self) -> Self:
        _check_placeholders(self.command, {"tree"})
        return self


class Measure(Declaration):
    """One figure of a probe, and from when bad is told from good.

    ``ratio``: bad is at least so many times good, for a figure that is never 0. ``difference``: bad is at least so much
    more than good, for a share (0..1) that is 0 on a good tree.
    """

    ratio: float | None = Field(default=None, gt=1)
    difference: Share | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.ratio is None) == (self.difference is None):
            raise ValueError("give either ratio or difference")
        if self.difference is not None and not 0 < self.difference <= 1:
            raise ValueError(f"difference: {self.difference:%} tells nothing apart; allowed above 0% up to 100%")
        return self

    def scale(self) -> Scale:
        """How two trees are compared by it."""
        return Ratio(self.ratio) if self.ratio is not None else Difference(self.difference or 0.0)


class Probe(Declaration):
    """A measurement of a tree, lower is better; ``{head}`` holds the probe itself, ``{tree}`` is what it measures."""

    name: Name
    command: Command
    timeout_s: Seconds = Field(alias="timeout")
    measures: dict[str, Measure] = Field(min_length=1)

    @model_validator(mode="after")
    def _known_placeholders(self) -> Self:
        _check_placeholders(self.command, {"head", "tree"})
        return self

    def scales(self) -> dict[str, Scale]:
        """Measure → how it tells a bad tree from a good one."""
        return {name: measure.scale() for name, measure in self.measures.items()}


class Tunable(Declaration):
    """A whole number in a file of the service that may be changed without asking what it is good for.

    It stands after ``key =`` or ``key:`` on one line of ``file``. A step multiplies or divides it by ``factor``, within
    ``range`` (both ends included). Another value has to be better by the part ``margin`` of ``metric``, of kind probe.
    """

    name: Name
    file: RepositoryPath
    key: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")
    range: tuple[int, int]
    factor: int = Field(ge=2)
    metric: str
    margin: Share
    what: str

    @model_validator(mode="after")
    def _bounds_make_sense(self) -> Self:
        low, high = self.range
        if not 1 <= low < high:
            raise ValueError(
                f"range: [{low}, {high}] has nothing to try in it; give two numbers from 1, the lower first"
            )
        if not 0 < self.margin < 1:
            raise ValueError(f"margin: {self.margin:%} is nothing to win by; allowed above 0% and below 100%")
        return self


class Capacity(Declaration):
    """What one node is declared to serve."""

    requests_per_s_per_node: float = Field(gt=0)


@dataclass(frozen=True)
class Counted:
    """What an objective counts for itself. Of fewer than ``min_events`` in a window nothing is said."""

    of: Selectors
    min_events: int


KINDS = ("ratio", "latency", "gauge", "counter", "probe")
"""Of metrics that a service may declare."""


class Metric(Declaration):
    """A measurement of the live service. Which of the queries it has depends on its kind:

    ``ratio``: counter selectors ``bad`` and ``total``; ``latency``: a histogram's bucket selector and a ``quantile``;
    ``gauge`` and ``counter``: a PromQL ``query``; ``probe``: a declared probe, one of its measures (in the base unit)
    and a ``quantile`` of the repetitions: a property of the release that is served, not of its traffic. Texts may hold
    ``{service}``, ``{release}``, ``{arm}``, ``{window}``.

    ``margin``, of a ratio: by how much of all requests (``0.5%``) `no regression` lets it get worse, whatever it was.

    No service declares one of kind ``objective``: that is an objective with an indicator of its own
    (``core/slo.py``). It is a share of events, but nothing tells the arms of a canary apart in it. Nor one of kind
    ``check``: how long a declared check runs.
    """

    kind: Annotated[
        Literal["ratio", "latency", "gauge", "counter", "probe", "objective", "check"],
        WithJsonSchema({"type": "string", "enum": list(KINDS), "title": "Kind"}),
    ]
    unit: str
    direction: Direction
    good: str
    bad: str | None = None
    total: str | None = None
    histogram: str | None = None
    quantile: float | None = Field(default=None, gt=0, lt=1)
    query: str | None = None
    probe: str | None = None
    measure: str | None = None
    margin: Share | None = None
    counted: SkipJsonSchema[Counted | None] = None
    check: SkipJsonSchema[str | None] = None

    @property
    def of_tree(self) -> bool:
        """Whether it is measured by running something on a commit's tree, not over a window of live traffic."""
        return self.kind in ("probe", "check")

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.unit not in UNITS:
            raise ValueError(f"unknown unit {self.unit!r}; {choices(self.unit, UNITS)}")
        wanted = {
            "ratio": {"bad", "total"}, "latency": {"histogram", "quantile"}, "probe": {"probe", "measure", "quantile"},
            "objective": {"counted"}, "check": {"check"},
        }.get(self.kind, {"query"})  # fmt: skip
        parts = ("bad", "total", "histogram", "quantile", "query", "probe", "measure", "counted", "check")
        given = {name for name in parts if getattr(self, name) is not None}
        if given != wanted:
            raise ValueError(f"kind {self.kind} has {', '.join(sorted(wanted))}; given: {', '.join(sorted(given))}")
        if self.kind == "ratio" and self.unit != "%":
            raise ValueError(f"a ratio is shown in %, not in {self.unit!r}")
        if self.margin is not None and not (self.kind == "ratio" and 0 < self.margin < 1):
            raise ValueError(f"margin: {self.margin:%} of kind {self.kind}; a ratio has one, above 0% and below 100%")
        for selector in (self.bad, self.total, self.histogram):
            if selector is not None and not _SELECTOR.fullmatch(selector):
                raise ValueError(f"{selector!r} is not a plain selector; write it like `http_requests_total`")
        texts = [text for text in (self.bad, self.total, self.histogram, self.query) if text is not None]
        _check_placeholders(texts, {"service", "release", "arm", "window"})
        return self

    @property
    def counts(self) -> bool:
        """Whether it is a share of requests or events that are counted."""
        return self.kind in ("ratio", "objective")


class Action(Declaration):
    """An operation that the service offers; parameters are name → JSON type."""

    name: Name
    parameters: dict[str, Literal["string", "integer", "number", "boolean"]] = Field(default={})
    effect: str
    risk: Risk
    reversible_by: str
    preconditions: tuple[str, ...] = ()
    blast_radius: str


class Traffic(Declaration):
    """The cluster of the data plane that serves it."""

    cluster: str


class PeakHours(Declaration):
    """When people depend on it most; ``zone`` is an IANA time zone."""

    hours: str = Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$")
    days: str = Field(pattern=r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)(-(Mon|Tue|Wed|Thu|Fri|Sat|Sun))?$")
    zone: str = Field(pattern=r"^[A-Za-z_]+(/[A-Za-z0-9_+-]+)*$")


class Canary(Declaration):
    """``guards``: ratio metrics that no change may make worse; ``keys``: a query for how many keys ask for service."""

    guards: tuple[str, ...] = Field(min_length=1)
    keys: str | None = None


class Manifest(Declaration):
    """``service.yaml``. ``repository`` lies under HARNESS_HOME; ``configuration``: files that a release is told by."""

    name: Name
    repository: RepositoryPath
    owners: tuple[str, ...] = Field(min_length=1)
    build: Build
    run: Run
    checks: tuple[Check, ...] = Field(min_length=1)
    probes: tuple[Probe, ...] = ()
    tunables: tuple[Tunable, ...] = ()
    protected_paths: tuple[RepositoryPath, ...] = ()
    configuration: tuple[RepositoryPath, ...] = ()
    capacity: Capacity
    metrics: dict[str, Metric] = Field(min_length=1)
    actions: tuple[Action, ...] = ()
    traffic: Traffic
    peak_hours: PeakHours | None = None
    canary: Canary

    def protects(self, path: str) -> bool:
        """Whether no agent may change the file. A protected path that ends in / covers what is below it."""
        folders = tuple(entry for entry in self.protected_paths if entry.endswith("/"))
        return path in self.protected_paths or path.startswith(folders)

    def tunable(self, name: str) -> Tunable:
        """The tunable of that name; raises Invalid with the nearest names."""
        for tunable in self.tunables:
            if tunable.name == name:
                return tunable
        known = [tunable.name for tunable in self.tunables]
        near = choices(name, known) if known else "none is"
        raise Invalid(f"tunable `{name}` is not declared by {self.name}; {near}")

    def configures(self, files: Iterable[str]) -> bool:
        """Whether these files, those of one change, are configuration and nothing else."""
        named = list(files)
        return bool(named) and all(file in self.configuration for file in named)

    @model_validator(mode="after")
    def _names_fit_together(self) -> Self:
        for kind, names in {
            "checks": [check.name for check in self.checks],
            "probes": [probe.name for probe in self.probes],
            "tunables": [tunable.name for tunable in self.tunables],
            "actions": [action.name for action in self.actions],
        }.items():
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{kind}: {', '.join(twice)} is declared twice")
        measures = {(probe.name, measure) for probe in self.probes for measure in probe.measures}
        for name, metric in self.metrics.items():
            if metric.kind not in KINDS:
                allowed = ", ".join(KINDS)
                whose = "of every check by itself" if metric.kind == "check" else "that of a file in slos/"
                raise ValueError(f"metrics.{name}: kind {metric.kind} is {whose}; allowed: {allowed}")
            if metric.kind == "probe" and (metric.probe, metric.measure) not in measures:
                there = ", ".join(sorted(f"{probe}/{measure}" for probe, measure in measures)) or "none"
                raise ValueError(f"metrics.{name}: no probe declares {metric.probe}/{metric.measure}; there is {there}")
        for tunable in self.tunables:
            wins_by = self.metrics.get(tunable.metric)
            if wins_by is None or wins_by.kind != "probe" or wins_by.direction == "either":
                probed = [name for name, metric in self.metrics.items() if metric.kind == "probe"]
                near = choices(tunable.metric, probed) if probed else "there is none"
                raise ValueError(f"tunables: {tunable.name}: metric has to be of kind probe, with a direction; {near}")
            if self.protects(tunable.file):
                raise ValueError(f"tunables: {tunable.name}: {tunable.file} is protected, so that nothing can be tried")
        ratios = [name for name, metric in self.metrics.items() if metric.kind == "ratio"]
        for guard in self.canary.guards:
            if guard not in ratios:
                raise ValueError(f"canary.guards: {guard!r} is no metric of kind ratio; {choices(guard, ratios)}")
        return self


def with_check_seconds(manifest: Manifest) -> Manifest:
    """The manifest with how long each of its checks runs, as a metric."""
    seconds = {
        check_seconds_of(one.name): Metric(
            kind="check", check=one.name, unit="s", direction="lower", good="no longer than it was"
        )
        for one in manifest.checks
    }
    return manifest.model_copy(update={"metrics": {**manifest.metrics, **seconds}})


def _check_placeholders(texts: Iterable[str], allowed: set[str]) -> None:
    for text in texts:
        for name in _PLACEHOLDER.findall(text):
            if name not in allowed:
                raise ValueError(f"{text!r}: unknown placeholder {name!r}; {choices(name, sorted(allowed))}")
