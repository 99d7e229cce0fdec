"""What the rules need from the world: Protocols, one page. No adapter is named here; ``bootstrap`` joins the two."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from harness.core.chain import Row
from harness.core.conversation import Prompt, Reply
from harness.core.deployment import NodeAnswer, NodeOrder, NodeReport
from harness.core.events import Wait
from harness.core.manifest import Manifest
from harness.core.record import Head, Kept, Projected, Recorded, StreamWrite, Told


class Clock(Protocol):
    """The time, and waiting for it."""

    def now(self) -> datetime:
        """The present, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        ...


class Ledger(Protocol):
    """The event store: appends with expected versions, reads in order (``ledger.md``)."""

    def append(self, writes: Sequence[StreamWrite]) -> list[Recorded]:
        """Append in one transaction; raises VersionConflict. The same events again give the first result."""
        ...

    def read_stream(self, stream: str, *, from_version: int = 1) -> list[Recorded]:
        """The events of a stream, in order."""
        ...

    def stream_version(self, stream: str) -> int:
        """The version of a stream's last event; 0 when there is no such stream."""
        ...

    def read_all(self, *, after_position: int = 0, limit: int = 1_000) -> list[Recorded]:
        """The next events of all streams, in commit order."""
        ...

    def streams(self, prefix: str = "") -> list[str]:
        """The names of all streams that begin so."""
        ...

    def head(self) -> Head:
        """Position and hash of the last event."""
        ...


class Chain(Ledger, Protocol):
    """The ledger as whoever checks it reads it, too: rows as they are stored and hashed."""

    def stored(self, *, after_position: int, limit: int) -> list[Row]:
        """The next rows of all streams, in commit order; raises Broken where they cannot be read."""
        ...


class Projections(Protocol):
    """Where projections are kept: in the ledger's own database, so that documents and progress change together."""

    def head(self) -> Head:
        """Position and hash of the last event."""
        ...

    def read_all(self, *, after_position: int = 0, limit: int = 1_000) -> list[Recorded]:
        """The next events of all streams, in commit order."""
        ...

    def replay(self, *, after_position: int, limit: int) -> list[Told]:
        """As ``read_all``, and only what a projection needs of each event."""
        ...

    def projected(self, names: Collection[str], keys: Collection[str] | None = None) -> dict[str, Kept]:
        """What is stored of these projections as of one moment: all documents, or those with one of these keys."""
        ...

    def project(self, steps: Sequence[Projected]) -> bool:
        """Store all of the steps in one transaction, or nothing and False: one of them begins where none is stored.

        Raises Refused or Retryable when nothing can be stored.
        """
        ...


class Bodies(Protocol):
    """Content-addressed bodies, for whoever reads."""

    def get_json(self, ref: str) -> Any:
        """The JSON value; raises Broken when it is missing or altered."""
        ...


class Blobs(Bodies, Protocol):
    """Content-addressed bodies."""

    def put_json(self, value: Any) -> str:
        """Store a JSON value; gives its ``sha256:…`` reference."""
        ...

    def cleaned(self, value: Any) -> Any:
        """The JSON value as ``put_json`` would store it, without secrets; asked before a part of it is shown, as half
        a secret cannot be told from other text. One that held any is stored, with what was taken out."""
        ...


@dataclass(frozen=True, slots=True)
class CounterReading:
    """The last raw value of a counter, summed over its series; ``at`` is the time of the sample, not of the query.

    ``warnings``: what was said of the answer, as that a part of it is missing.
    """

    value: int | None
    at: datetime | None
    warnings: tuple[str, ...] = field(default=(), compare=False)


Lost = Mapping[datetime, Mapping[str, int]]


class Metrics(Protocol):
    """Measurements. Unreachable is Retryable, a bad query Invalid, no data None: three different things."""

    async def counters(self, selectors: Mapping[str, str], at: datetime | None = None) -> dict[str, CounterReading]:
        """Raw counter values by name, as exact integers."""
        ...

    async def lost(self, selectors: Collection[str], starts: Collection[datetime], end: datetime) -> Lost:
        """What counters had counted when they began anew or went away between each start and ``end``: the difference
        of two of their values lacks it. Start → selector → events, 0 for a counter that ran through. Asked with ends
        that go forward.
        """
        ...

    async def value(self, query: str, at: datetime | None = None) -> float | None:
        """The single value of an instant query; None when there is none, or it is not a number."""
        ...

    async def values(self, queries: Mapping[str, str], at: datetime | None = None) -> dict[str, float | None]:
        """As ``value``, for many queries by name at one moment."""
        ...

    async def history(self, query: str, start: datetime, end: datetime, step_s: float) -> list[float | None]:
        """What ``value`` gives at ``start`` and every ``step_s`` from there, up to ``end``, in one question."""
        ...


class Router(Protocol):
    """The shares of the traffic. A write is fenced by its token and counts once it is applied."""

    async def set_weights(self, weights: Mapping[str, float], token: int, note: str) -> str:
        """Give each arm its share (0..1; ``stable`` gets the rest); returns the version read back from the proxy."""
        ...

    def weights(self) -> dict[str, float]:
        """The shares of canary and baseline as they were written last."""
        ...


class Nodes(Protocol):
    """The fleet."""

    def names(self) -> tuple[str, ...]:
        """The nodes, in the order of failure domains."""
        ...

    async def order(self, node: str, order: NodeOrder) -> NodeAnswer:
        """Have a node do one thing; the same key again gives the first answer."""
        ...

    async def report(self, node: str) -> NodeReport:
        """The node's account of itself; Retryable when it does not answer."""
        ...


class NodeProvider(Protocol):
    """The machines that nodes run on. A key is visible in the world: a retry observes it before it acts."""

    def nodes(self) -> tuple[str, ...]:
        """The nodes that there are, in the order of failure domains; one whose machine died is none."""
        ...

    def observe(self, key: str) -> str | None:
        """The node that the effect with this key started or removed; None when it did not happen."""
        ...

    def start(self, key: str) -> str:
        """Start a node, under a name that none had before; the same key again gives the same one.

        Returns before it serves. Raises Forbidden where there is no room for another.
        """
        ...

    def remove(self, node: str, key: str) -> None:
        """Take a node away, with all that runs on it; the same key again does nothing. Raises Invalid for no node."""
        ...


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """A commit, for people and agents."""

    commit: str
    subject: str
    author: str
    at: datetime
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A line of a file that holds what was searched for; lines count from 1."""

    path: str
    line: int
    text: str


class Repository(Protocol):
    """The service's own git repository."""

    def main(self) -> str:
        """The commit that ``main`` is at."""
        ...

    def tree(self, commit: str) -> str:
        """The tree of a commit."""
        ...

    def log(self, since: str, until: str) -> list[CommitInfo]:
        """The commits after ``since`` up to ``until``, oldest first."""
        ...

    def diff(self, base: str, commit: str) -> str:
        """The unified diff between two commits."""
        ...

    def files(self, commit: str) -> list[str]:
        """The paths of all plain files of a commit, sorted: no links, nothing of other repositories."""
        ...

    def read(self, commit: str, path: str) -> str:
        """The text of a file; raises Refused when there is no such plain file, or it is no text."""
        ...

    def search(self, commit: str, text: str) -> list[Hit]:
        """Every line of a text file that holds this text, by path and line."""
        ...

    def write(self, path: str, text: str, onto: str, branch: str, key: str, message: str) -> str:
        """A commit on ``branch`` on top of ``onto`` in which the file has this text; one commit a key.

        Raises Refused when the path is no plain file's, or the file has this text already.
        """
        ...

    def revert(self, commit: str, onto: str, branch: str, key: str, message: str) -> str:
        """A commit on ``branch`` that takes ``commit`` back; the same key again gives the same commit.

        Raises Refused with what stands in the way when it does not apply.
        """
        ...

    def merge(self, branch_commit: str, main: str, key: str, trailers: str = "") -> str:
        """The commit that joins a change with main (the change itself when main has not moved).

        ``trailers`` are the last lines of its message.
        """
        ...

    def roll_back(self, before: str, after: str, key: str, message: str) -> str:
        """A commit on top of ``after`` with the tree of ``before``; the same key again gives the same commit."""
        ...

    def move_main(self, before: str, after: str) -> None:
        """Move ``main``; raises Forbidden when it is no longer at ``before`` (nothing is lost)."""
        ...

    def manifest(self, commit: str) -> Manifest:
        """The service manifest as of a commit."""
        ...


@dataclass(frozen=True, slots=True)
class CheckRun:
    """A declared check that ran: ``tests_passed`` counts the ids that the harness's own reporter saw pass."""

    name: str
    exit_code: int | None
    passed: bool
    reason: str
    tests_passed: int | None
    output: str
    wait: Wait


@dataclass(frozen=True, slots=True)
class ProbeRun:
    """A declared probe that ran on a tree; ``measures`` None means that the tree could not be measured."""

    measures: dict[str, list[float]] | None
    reason: str
    wait: Wait


class Checks(Protocol):
    """Checks and probes of a service, in the sandbox."""

    async def prepare(self) -> None:
        """Build ahead what checks and probes need."""
        ...

    async def check(self, name: str, commit: str, base: str) -> CheckRun:
        """Run a check on a commit, with the protected paths of ``base``."""
        ...

    async def probe(self, name: str, commit: str, head: str) -> ProbeRun:
        """Run ``head``'s probe on a commit's tree."""
        ...


class Model(Protocol):
    """A language model behind an endpoint: one prompt, one reply. Keeps no state; asking twice costs twice."""

    @property
    def name(self) -> str:
        """The model that is asked for; a reply names the one that answered."""
        ...

    async def reply(self, prompt: Prompt) -> Reply:
        """The model's next turn, within a bounded time.

        Raises Retryable when the endpoint did not answer whole (with its own ``retry_after_s`` where it gave one),
        Refused when it will not take the request as it is. Neither holds a key.
        """
        ...


class Workflows(Protocol):
    """What Temporal runs for the harness. Raises Retryable when it is away; beginning what runs does nothing."""

    async def begin_ticket(self, ticket_id: str) -> bool:
        """Begin a ticket's workflow unless one runs, however the last one ended; whether it was begun."""
        ...

    async def begin_watch(self) -> bool:
        """Begin the watch unless it runs; whether it was begun."""
        ...

    async def watch_runs(self) -> bool:
        """Whether the watch is there: where it is not, Temporal has lost what it knew."""
        ...
