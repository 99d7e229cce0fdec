"""Who was told of what, by webhook (streams ``notices-<receiver>``). Touches nothing."""

from __future__ import annotations

from typing import Literal

from harness.core.events.values import Event


class ReceiverAdded(Event):
    """A receiver of notices was there for the first time: it is told of what is recorded after this."""

    receiver: str
    """Its name in `policies/notifications.yaml`."""


class NoticeSent(Event):
    """A receiver has taken a notice. It may have got the same notice before, with the same id."""

    receiver: str
    """Its name in `policies/notifications.yaml`."""
    about: str
    """The id of the event that it was told of, which is the id of the notice."""
    position: int
    """Where that event is in the ledger."""


class NoticeGivenUp(Event):
    """A receiver is not told of an event."""

    receiver: str
    """Its name in `policies/notifications.yaml`."""
    about: str
    """The id of the event, which is the id of the notice."""
    position: int
    """Where that event is in the ledger."""
    why: Literal["refused", "too_old"]
    """Refused: it said that it will never take this one. Too old: it did not take it in the time that policy gives."""
    status: int | None
    """The status of its last answer; None when there was none."""
