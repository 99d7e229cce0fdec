"""Looks whether the harness's own invariants hold. Reads the ledger, nodes' reports, main and the routes.

The ledger is walked a page a look and from where the last look stopped, so that a look costs the same whatever its
length. Once the end was reached what is new is walked, and once a day all of it again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import orjson

from harness.cause import standing
from harness.core import events as e
from harness.core.chain import Row, Walk
from harness.core.deployment import NodeReport
from harness.core.errors import Broken, HarnessError, Refused
from harness.core.fleet import Fleet
from harness.core.ids import fingerprint, lock_stream, ticket_stream
from harness.core.record import GENESIS, Head
from harness.core.structure import Found, Name, drift, on_record, unproven, unrecorded
from harness.core.ticket import fold
from harness.journal import decode
from harness.ports import Chain, Clock, Repository, Router

PAGE: Final = 1_000
AGAIN: Final = timedelta(days=1)


class Structure:
    """Remembers how far it has walked; a process that begins anew walks from the first event."""

    def __init__(
        self, ledger: Chain, repository: Repository, router: Router, clock: Clock, service: str, *,
        invariants: Collection[str],
    ) -> None:  # fmt: skip
        """``invariants``: names of the service's own."""
        self._ledger, self._repository, self._router, self._clock = ledger, repository, router, clock
        self._service = service
        self._causes = tuple(fingerprint("invariant", service, name) for name in invariants)
        self._configured: tuple[str, tuple[str, str] | None] = "", None
        """A commit, and its file of configuration with its SHA-256."""
        self._walk, self._began_at = Walk(), clock.now()
        self._fault, self._newest = "", Head(0, GENESIS)
        self._whole = False
        """Whether some walk has come to the end."""
        self._at_the_end = False
        """Whether this walk has: while all is walked again, what is new comes last."""
        self._fleet = Fleet()
        self._commits: set[str] = set()
        self._unproven: dict[str, str] = {}

    def look(self, reports: Sequence[NodeReport]) -> Mapping[Name, Found]:
        """Each of them, with why it does not hold."""
        self._read_on(self._clock.now())
        behind = "" if self._whole else self._behind()
        return {
            "ledger_chain": Found(self._fault, "" if self._fault else behind),
            "resolved_with_evidence": Found("; ".join(self._unproven.values()), behind if not self._unproven else ""),
            "releases_on_record": Found("", behind) if behind else self._recorded(reports),
            "declared_runs": self._declared(reports),
            "declared_fleet": self._fleet_declared(),
        }

    def _behind(self) -> str:
        return f"the ledger is read up to position {self._walk.held().events} so far"

    # --- the record ----------------------------------------------------------------------------------------------

    def _read_on(self, now: datetime) -> None:
        walked, self._at_the_end = self._walk.held(), False
        if not walked.events:
            self._fleet = Fleet()
        try:
            rows = self._ledger.stored(after_position=walked.events, limit=PAGE)
            for row in rows:
                if (fault := self._walk.step(row)) is not None:
                    self._begin_anew(now, fault.reason or "the chain does not hold")
                    return
                self._note(row)
        except Broken as damage:
            self._begin_anew(now, str(damage))
            return
        if len(rows) < PAGE:
            self._whole, self._at_the_end, self._fault = True, True, self._gone()
            if now - self._began_at >= AGAIN:
                self._begin_anew(now, self._fault)

    def _gone(self) -> str:
        """Whether the newest event that was ever walked is still there: what is left of a chain holds by itself."""
        position, chain = self._newest
        rows = self._ledger.stored(after_position=position - 1, limit=1) if position else ()
        if position and (not rows or rows[0].hash != chain):
            return f"position {position} was walked, and is gone or another by now"
        walked = self._walk.held()
        self._newest = Head(walked.events, walked.head)
        return ""

    def _begin_anew(self, now: datetime, fault: str) -> None:
        """What was found stays until a whole walk has found nothing."""
        self._walk, self._began_at, self._fault = Walk(), now, fault

    def _note(self, row: Row) -> None:
        data: dict[str, Any] = orjson.loads(row.data)
        self._commits.update(on_record(row.type, data))
        self._fleet = self._fleet.after(row.type, data)
        if row.type == e.CriteriaMet.__name__:
            self._hold_to_its_evidence(row.stream.removeprefix(ticket_stream("")), row.stream)

    def _hold_to_its_evidence(self, ticket_id: str, stream: str) -> None:
        try:
            ticket = fold((one.id, one.occurred_at, decode(one)) for one in self._ledger.read_stream(stream))
            reason = unproven(ticket) if ticket else ""
        except HarnessError as error:  # a life that no ticket has
            reason = f"{ticket_id} is said to be resolved, and its stream is no ticket's: {error}"
        if reason:
            self._unproven[ticket_id] = reason

    # --- what runs -----------------------------------------------------------------------------------------------

    def _recorded(self, reports: Sequence[NodeReport]) -> Found:
        return self._while_nothing_is_delivered() or Found(unrecorded(reports, self._commits, self._repository.main()))

    def _declared(self, reports: Sequence[NodeReport]) -> Found:
        if busy := self._while_nothing_is_delivered():
            return busy
        main = self._repository.main()
        try:
            weights = self._router.weights()
        except Broken as error:
            return Found(f"the routes in force can't be read: {error}")
        if self._configured[0] != main:
            self._configured = main, self._configuration(main)
        tree, configuration = self._repository.tree(main), self._configured[1]
        return Found(drift(reports, main=main, tree=tree, configuration=configuration, weights=weights))

    def _configuration(self, commit: str) -> tuple[str, str] | None:
        """None where none is declared, is there, or is a text: then there is nothing to compare with."""
        with suppress(Refused):
            for file in self._repository.manifest(commit).configuration:
                return file, sha256(self._repository.read(commit, file).encode()).hexdigest()
        return None

    def _fleet_declared(self) -> Found:
        if busy := self._while_nothing_is_delivered():
            return busy
        if not self._at_the_end:
            return Found(unknown=self._behind())
        more, fewer = self._fleet.more(), self._fleet.fewer()
        tickets = [living for cause in self._causes if (living := standing(self._ledger, cause).living)]
        if not fewer or not tickets:
            return Found("; ".join(filter(None, (more, fewer))))
        # Whoever it concerns knows of it, and may be about to make it good: no second person is called for that.
        return Found(more, f"{fewer}; {', '.join(tickets)} may be about that" if not more else "")

    def _while_nothing_is_delivered(self) -> Found | None:
        rows = self._ledger.read_stream(lock_stream(self._service))
        last = decode(rows[-1]) if rows else None
        return Found(unknown=f"{last.ticket_id} delivers") if isinstance(last, e.LockTaken) else None
