"""The notifier: follows the ledger and tells a receiver of what policy says. Remembers in the ledger what it told.

One notice after the other, in the ledger's order, each until the receiver has taken it, refused it, or it is too old.
Dying between the sending and the record sends it once more, with the same id: at least once, and the receiver can know.
"""

from __future__ import annotations

from random import random

import structlog

from harness.adapters.webhook import Webhook
from harness.cli.shown import Shown
from harness.cli.story import line
from harness.core import events as e
from harness.core.errors import Broken, VersionConflict
from harness.core.ids import follower, notices_stream, ticket_stream
from harness.core.notice import TYPES, Receiver, meaning, notice, pause_s
from harness.core.record import Recorded, StreamWrite
from harness.journal import HARNESS, decode, encode
from harness.ports import Blobs, Clock, Ledger

log = structlog.get_logger()


class Notifier:
    """Tells one receiver; ``see`` is given every event, in order."""

    def __init__(
        self, receiver: Receiver, webhook: Webhook, *, ledger: Ledger, blobs: Blobs, clock: Clock,
        give_up_after_s: float,
    ) -> None:  # fmt: skip
        self._receiver = receiver
        self._webhook = webhook
        self._ledger = ledger
        self._blobs = Shown(blobs)
        self._clock = clock
        self._give_up_after_s = give_up_after_s
        self._stream = notices_stream(receiver.name)
        self._outcome: tuple[int, e.NoticeSent | e.NoticeGivenUp] | None = None
        """What became of the notice about the event at this position: it is not sent again while the ledger does not
        take that."""
        self._version, self._told = 0, 0
        """How long its stream is, and up to which position it was told of everything."""
        self._read()

    @property
    def name(self) -> str:
        """Under which it keeps how far it has followed."""
        return follower(self._receiver.name)

    async def see(self, row: Recorded) -> None:
        """Tell the receiver of the event, if it is to be told and was not yet."""
        if TYPES.get(row.type) in self._receiver.tell and row.position > self._told:
            if self._outcome is None or self._outcome[0] != row.position:
                self._outcome = (row.position, await self._tell(row))
            while row.position > self._told:
                self._append(self._outcome[1])

    async def _tell(self, row: Recorded) -> e.NoticeSent | e.NoticeGivenUp:
        name, status, failures = self._receiver.name, None, 0
        body = notice(row, row.stream.removeprefix(ticket_stream("")), self._words(row))
        while True:
            if (self._clock.now() - row.occurred_at).total_seconds() > self._give_up_after_s:
                log.warning("notice given up: too old", receiver=name, position=row.position)
                return self._given_up(row, "too_old", status)
            answer = await self._webhook.post(row.id, body, self._clock.now())
            match meaning(status := answer.status):
                case "taken":
                    return e.NoticeSent(receiver=name, about=row.id, position=row.position)
                case "refused":
                    log.warning("notice refused", receiver=name, position=row.position, status=status)
                    return self._given_up(row, "refused", status)
            failures += 1
            wait_s = pause_s(failures, answer.retry_after_s, random())
            log.warning("notice waits", receiver=name, position=row.position, status=status, trouble=answer.trouble,
                        again_in_s=round(wait_s, 1))  # fmt: skip
            await self._clock.sleep(wait_s)

    def _words(self, row: Recorded) -> str:
        """The event in a line. A text that is lost is no reason to tell nobody."""
        try:
            return line(decode(row), self._blobs) or row.type
        except Broken:
            return f"{row.type}; its text is missing or damaged, run `harness ledger verify`"

    def _given_up(self, row: Recorded, why: str, status: int | None) -> e.NoticeGivenUp:
        told = {"receiver": self._receiver.name, "about": row.id, "position": row.position}
        return e.NoticeGivenUp.model_validate({**told, "why": why, "status": status})

    def _append(self, event: e.NoticeSent | e.NoticeGivenUp | e.ReceiverAdded) -> None:
        """Record it; where another notifier of the same receiver was faster, what that one told is read instead."""
        new = encode(
            f"{self._stream}/{self._version + 1}/{event.model_dump_json()}", event, clock=self._clock, actor=HARNESS,
            correlation=self._stream, cause=getattr(event, "about", None),
        )  # fmt: skip
        try:
            self._ledger.append([StreamWrite(self._stream, self._version, [new])])
        except VersionConflict:
            log.warning("another notifier tells this receiver as well", receiver=self._receiver.name)
        self._read()

    def _read(self) -> None:
        """What the receiver was told, from where it was read last; one that has no stream yet is told from now on."""
        rows = self._ledger.read_stream(self._stream, from_version=self._version + 1)
        if not rows and not self._version:
            return self._append(e.ReceiverAdded(receiver=self._receiver.name))
        for row in rows:
            event = decode(row)
            self._version = row.version
            self._told = row.position if isinstance(event, e.ReceiverAdded) else row.data["position"]
