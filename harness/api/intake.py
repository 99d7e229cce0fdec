"""Takes in what came over HTTP: recorded before it is answered, many requests in one append; then filed in order.

Decides nothing. How far filing has come is a checkpoint of the ledger: a server that is killed goes on from there.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

import structlog

from harness.api.metrics import Metrics
from harness.core.errors import Dropped, Forbidden, HarnessError, Invalid, Refused, Retryable
from harness.core.events import SignalsReceived
from harness.core.record import Recorded
from harness.ports import Ledger
from harness.stages.receive import AT_ONCE, Change, Stage, Taken, Told, alerts_of, changes, receive

NAME: Final = "intake"
REQUESTS_AT_ONCE: Final = 500
PAGE: Final = 500
LOOK_EVERY_S: Final = 1.0
"""For what another server has recorded and did not file; its own are filed at once."""
GATHER_S: Final = 0.05
"""What comes within this after the first is filed with it: in a storm filing costs by the page, not by the alert."""
GATHER_TIMES: Final = 3
"""And what comes within so many times what the last page took: in a storm taking in has three quarters of the time."""
RETRY_S: Final = 0.5
log = structlog.get_logger()


class Followed(Ledger, Protocol):
    """A ledger that keeps how far a follower has come."""

    def checkpoint(self, name: str) -> int:
        """The position that was saved last."""
        ...

    def save_checkpoint(self, name: str, position: int) -> None:
        """Keep it."""
        ...


@dataclass
class Intake:
    """Requests on their way into the ledger: whoever comes while one append is under way goes with the next."""

    stage: Stage
    recorded: Callable[[], None]
    """Called after each append."""
    _waiting: list[tuple[Taken, asyncio.Future[None]]] = field(default_factory=list)
    _writer: asyncio.Task[None] | None = None

    async def put(self, taken: Taken) -> None:
        """Return once it is recorded. Raises what stood in the way; then nothing is."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((taken, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:REQUESTS_AT_ONCE], self._waiting[REQUESTS_AT_ONCE:]
            fault: HarnessError | None = None
            try:
                await asyncio.to_thread(receive, [taken for taken, _ in batch], str(uuid.uuid4()), self.stage)
            except HarnessError as error:
                fault = _as_told(error)
            for _, done in batch:
                if done.done():  # its sender has gone
                    continue
                if fault is None:
                    done.set_result(None)
                else:
                    done.set_exception(fault)
            if fault is None:
                self.recorded()


def _as_told(error: HarnessError) -> HarnessError:
    """What a sender is told of what stood in the way. A ledger that lets nothing be recorded (a role or a standby that
    may only read, tables of newer code) is not the sender's to change: told so, it would drop its alerts for good."""
    if isinstance(error, Refused) and not isinstance(error, Invalid | Forbidden | Dropped):
        return Retryable(str(error))
    return error


@dataclass
class Filer:
    """Files what was recorded, in a thread of its own. ``stuck``: why it gets no further; None while it does."""

    ledger: Followed
    stage: Stage
    file: Callable[[Change], None]
    metrics: Metrics
    stuck: str | None = None
    filed_until: datetime | None = None
    """When what was filed last had come in."""
    _wake: threading.Event = field(default_factory=threading.Event)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="filer", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether its thread is there: an error that nobody knows ends it."""
        return self._thread is not None and self._thread.is_alive()

    def wake(self) -> None:
        """Something was recorded."""
        self._wake.set()

    def stop(self) -> None:
        """Return after the page that is being filed."""
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.clear()
            began_s = time.monotonic()
            try:
                more = self.page()
                self.stuck = None
            except HarnessError as error:  # it stays recorded, and is tried again
                self.stuck, more = str(error), False
                log.warning("filing waits", reason=str(error), retryable=isinstance(error, Retryable))
                self._stopped.wait(RETRY_S)
            gather_s = GATHER_TIMES * (time.monotonic() - began_s)
            if not more and self._wake.wait(LOOK_EVERY_S):
                self._stopped.wait(min(max(GATHER_S, gather_s), LOOK_EVERY_S))

    def page(self) -> bool:
        """File what the next page of the ledger holds; whether it was full, so that there may be more."""
        position = self.ledger.checkpoint(NAME)
        rows = self.ledger.read_all(after_position=position, limit=PAGE)
        waiting: list[Told] = []
        last: Recorded | None = None
        for row in rows:
            if row.type != SignalsReceived.__name__:
                continue
            for alerts in alerts_of(row, self.stage.blobs):
                if last is not None and len(waiting) + len(alerts) > AT_ONCE:
                    self._file(waiting, last)
                    waiting = []
                waiting += alerts
                last = row
        if last is not None:
            self._file(waiting, last)
        if rows:
            self.ledger.save_checkpoint(NAME, rows[-1].position)
        return len(rows) == PAGE

    def _file(self, alerts: list[Told], last: Recorded) -> None:
        for change in changes(alerts, last, self.stage):
            self.file(change)
        self.filed_until = last.occurred_at
        self.metrics.filed.inc(len(alerts))
