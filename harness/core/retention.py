"""For how long bodies are kept that are there to learn from, and which of them are over. Data from policy; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from pydantic import Field

from harness.core import events as e
from harness.core.declaration import Declaration, Seconds
from harness.core.referring import DROPPED, References, Referred, mentioned

Kind = Literal["prompts", "outputs"]

KINDS: Final[dict[tuple[str, str], Kind]] = {
    (e.AttemptStarted.__name__, "briefing"): "prompts",
    (e.ActionTaken.__name__, "reply"): "prompts",
    (e.ObservationRecorded.__name__, "body"): "outputs",
    (e.ChecksPassed.__name__, "outcomes.output"): "outputs",
    (e.ChecksFailed.__name__, "outcomes.output"): "outputs",
}
"""(event, field) → what policy may bound. Any other body is kept for good: what was asked, decided and changed."""


class Retention(Declaration):
    """``policies/retention.yaml``.

    ``unreferenced_s``: the least age at which a body that no event mentions is collected. Whoever puts a body has to
    append its event, or put it again, within that time. ``prompts_s``, ``outputs_s``: how long such bodies are kept
    after the ticket was closed; None for good.
    """

    unreferenced_s: Seconds = Field(alias="unreferenced", ge=3600)
    prompts_s: Seconds | None = Field(default=None, alias="prompts", ge=0)
    outputs_s: Seconds | None = Field(default=None, alias="outputs", ge=0)

    def kept_s(self, kind: Kind) -> float | None:
        """For how long; None for good."""
        return self.prompts_s if kind == "prompts" else self.outputs_s


@dataclass(frozen=True, slots=True)
class Expired:
    """A body that nothing needs any more, and by which rule; of several the one that kept it longest."""

    kind: Kind
    kept_s: float


@dataclass(slots=True)
class Aging:
    """Which bodies may be over by ``now``, folded over all events in order. A body is as long needed as any event of
    whatever ticket needs it; what an event refers to that policy does not bound is needed for good."""

    policy: Retention
    now: datetime
    _needed: set[e.BlobRef] = field(default_factory=set)
    _may_be_over: dict[e.BlobRef, set[tuple[str, Kind]]] = field(default_factory=dict)

    def see(self, stream: str, at: datetime, kind: str, data: Mapping[str, Any], refs: References) -> None:
        """The next event; ``refs`` are its declared references."""
        dropped = data.get("blob") if kind == DROPPED else None
        for ref in mentioned(data):
            if ref == dropped or ref in self._needed:
                continue
            bounds = {KINDS.get((kind, name)) for name in refs.get(ref, ("",))}
            if all(bound is not None and self._is_over(at, bound) for bound in bounds):
                self._may_be_over.setdefault(ref, set()).update((stream, bound) for bound in bounds if bound)
            else:
                self._needed.add(ref)
                self._may_be_over.pop(ref, None)
        if dropped is not None:  # what stands before this needs the body no more
            self._needed.discard(dropped)
            self._may_be_over.pop(dropped, None)

    def over(self, closed_at: Callable[[str], datetime | None]) -> Iterator[tuple[e.BlobRef, Expired]]:
        """The bodies that are; ``closed_at`` gives when the ticket of a stream was closed, None while it lives."""
        for ref, needs in self._may_be_over.items():
            if all(self._is_over(closed_at(stream), kind) for stream, kind in needs):
                kept = {kind: self.policy.kept_s(kind) or 0.0 for _, kind in needs}
                longest = max(sorted(kept), key=kept.__getitem__)
                yield ref, Expired(longest, kept[longest])

    def _is_over(self, closed_at: datetime | None, kind: Kind) -> bool:
        kept_s = self.policy.kept_s(kind)
        return closed_at is not None and kept_s is not None and self.now - closed_at >= timedelta(seconds=kept_s)


Verdict = Literal["kept", "young", "unreferenced", "expired", "finished"]
"""``finished``: its drop is recorded, and only its file was left. ``young``: its event may be still to come."""


def verdict(
    ref: e.BlobRef | None, put_at_ns: int, *, cutoff_ns: int, referred: Referred, expired: Mapping[e.BlobRef, Expired]
) -> Verdict:
    """What becomes of a file: a body, or (None) what a put that was killed left half written.

    ``cutoff_ns`` lies as far before the reading of ``referred`` as a body has to be old. So whatever was put before
    it has its event among those that were read, or never gets one; and what was put after it is left alone.
    """
    if ref is not None and referred.forgot(ref):
        return "finished"
    if ref is not None and referred.needs(ref) and ref not in expired:
        return "kept"
    if put_at_ns >= cutoff_ns:
        return "young"
    if ref in expired:
        return "expired"
    return "finished" if ref is not None and referred.drops_of(ref) else "unreferenced"
