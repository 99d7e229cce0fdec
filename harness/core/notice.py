"""Notices: of which events a receiver is told, what a notice says, and what its answer means. Decides; touches nothing.

A notice has the form of Standard Webhooks (https://www.standardwebhooks.com). Its id is that of the event that it tells
of, so whoever gets one twice can know; ``text`` is the field that chat services show.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints, model_validator

from harness.core import events as e
from harness.core.case import cut
from harness.core.declaration import Declaration, Seconds
from harness.core.record import Recorded

Type = Literal[
    "ticket.filed", "ticket.rejected", "ticket.approval_requested", "ticket.escalated", "ticket.resolved",
    "ticket.cancelled", "change.stopped", "change.deployed", "change.taken_back", "change.reverted",
]  # fmt: skip
TYPES: Final[dict[str, Type]] = {
    e.TicketFiled.__name__: "ticket.filed",
    e.TicketRejected.__name__: "ticket.rejected",
    e.ApprovalRequested.__name__: "ticket.approval_requested",
    e.HelpRequested.__name__: "ticket.escalated",
    e.RollbackFailed.__name__: "ticket.escalated",
    e.CriteriaMet.__name__: "ticket.resolved",
    e.TicketCancelled.__name__: "ticket.cancelled",
    e.ChecksFailed.__name__: "change.stopped",
    e.CanaryFailed.__name__: "change.stopped",
    e.ReleaseDeployed.__name__: "change.deployed",
    e.RolledBack.__name__: "change.taken_back",
    e.ChangeReverted.__name__: "change.reverted",
}
"""Event type → type of the notice; of others nobody is told."""

TEXT_CHARS: Final = 2_000
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 300.0
_NEVER: Final = frozenset({400, 410, 413, 415, 422})
"""Statuses of a receiver that will not take this notice however often it comes. Any other may be put right: by waiting,
or by a person who mends an address or a secret."""


class Receiver(Declaration):
    """Somebody who is told. Address and secret are in variables of the environment, for an address is a secret, too."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    url_from: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*_WEBHOOK_URL$")]
    secret_from: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*_SECRET$")] | None = None
    tell: tuple[Type, ...] = Field(min_length=1)


class Notifications(Declaration):
    """``policies/notifications.yaml``: the receivers, and for how long each notice is tried."""

    give_up_after_s: Seconds = Field(alias="give_up_after", gt=0)
    receivers: tuple[Receiver, ...] = ()

    @model_validator(mode="after")
    def _each_once(self) -> Notifications:
        names = [one.name for one in self.receivers]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"receiver {twice[0]!r} is there twice; each has a name of its own")
        return self


def notice(row: Recorded, ticket: str, text: str) -> dict[str, Any]:
    """The body of the notice about this event, of one of ``TYPES``."""
    return {
        "type": TYPES[row.type],
        "timestamp": row.occurred_at.isoformat(),
        "text": f"{ticket}: {_for_chat(text)}",
        "data": {"ticket": ticket, "event": row.type, "event_id": row.id, "position": row.position},
    }


def _for_chat(text: str) -> str:
    """No longer than people read there, and without what chat services obey: controls in angle brackets, calls to all,
    links with another text than their address."""
    short = cut(text, TEXT_CHARS)
    quiet = re.sub(r"<(?=[!@#/A-Za-z])", "‹", short)
    return re.sub(r"\](?=\()", "] ", re.sub(r"@(?=(everyone|here|channel|all)\b)", "@ ", quiet, flags=re.IGNORECASE))


def meaning(status: int | None) -> Literal["taken", "refused", "again"]:
    """What an answer means; None when there was none."""
    if status is None:
        return "again"
    return "taken" if 200 <= status < 300 else "refused" if status in _NEVER else "again"


def pause_s(failures: int, asked_s: float | None, chance: float) -> float:
    """How long to wait after so many failures in a row (from 1); ``chance`` in 0..1 keeps many from coming at once.

    Doubles from 1 s to 5 min, between half and the whole of it; at least what the receiver asked for, up to 5 min.
    """
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16))
    return max(longest * (0.5 + chance / 2), min(asked_s or 0.0, LONGEST_PAUSE_S))
