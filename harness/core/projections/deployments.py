"""The projection of deployments: what each ticket brought onto the nodes, and what became of it. Pure."""

from __future__ import annotations

from typing import Final

from harness.core import events as e
from harness.core.projections.projection import Document, Event, Fold, Projection, begun, ticket_of

_TAKEN_BACK: Final = ("taken back", "way back failed")


def _filed(_: Document | None, event: Event) -> Document:
    return {"service": event.data["service"], "change": None, "deployments": []}


def _proposed(document: Document | None, event: Event) -> Document:
    operation = event.data.get("operation")
    return begun(document, event) | {
        "change": {
            "attempt": event.data["attempt"], "kind": event.data["kind"], "commit": event.data["commit"],
            "action": operation["action"] if operation else None,
        }
    }  # fmt: skip


def _deployed(document: Document | None, event: Event) -> Document:
    data = event.data
    return _brought(document, event, outcome="deployed", commit=data["commit"], nodes=list(data["nodes"]))


def _failed(document: Document | None, event: Event) -> Document:
    return _brought(document, event, outcome="failed", commit=None, nodes=[])


def _brought(
    document: Document | None, event: Event, *, outcome: str, commit: str | None, nodes: list[str]
) -> Document:
    document = begun(document, event)
    if change := document["change"]:
        at = event.told.occurred_at.isoformat()
        more = {"commit": commit or change["commit"], "nodes": nodes, "at": at, "outcome": outcome, "outcome_at": at}
        document["deployments"].append(change | more)
    return document


def _became(outcome: str) -> Fold:
    """What became of the attempt's deployment; nothing where it had none."""

    def fold(document: Document | None, event: Event) -> Document:
        return _outcome(begun(document, event), event, event.data["attempt"], outcome)

    return fold


def _not_met(document: Document | None, event: Event) -> Document:
    """What was taken back before this says more."""
    document = begun(document, event)
    if document["deployments"] and document["deployments"][-1]["outcome"] in _TAKEN_BACK:
        return document
    outcome = "kept" if event.data.get("kept") else "not verified"
    return _outcome(document, event, event.data["attempt"], outcome)


def _reverted(document: Document | None, event: Event) -> Document:
    document = begun(document, event)
    last = document["deployments"][-1]["attempt"] if document["deployments"] else None
    return _outcome(document, event, last, "reverted")


def _outcome(document: Document, event: Event, attempt: int | None, outcome: str) -> Document:
    for one in document["deployments"][-1:]:
        if one["attempt"] == attempt:
            one |= {"outcome": outcome, "outcome_at": event.told.occurred_at.isoformat()}
    return document


DEPLOYMENTS: Final = Projection(
    name="deployments",
    version=2,
    folds={
        e.TicketFiled.__name__: _filed,
        e.ChangeProposed.__name__: _proposed,
        e.ReleaseDeployed.__name__: _deployed,
        e.DeployFailed.__name__: _failed,
        e.CriteriaMet.__name__: _became("verified"),
        e.CriteriaNotMet.__name__: _not_met,
        e.RolledBack.__name__: _became(_TAKEN_BACK[0]),
        e.RollbackFailed.__name__: _became(_TAKEN_BACK[1]),
        e.ChangeReverted.__name__: _reverted,
    },
    key=ticket_of,
)
"""By ticket id; a ticket's deployments in order."""
