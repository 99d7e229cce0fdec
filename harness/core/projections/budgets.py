"""The projection of budgets: what models took for each ticket, by model. Pure; touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from harness.core import events as e
from harness.core.projections.projection import Document, Event, Projection, begun, ticket_of

NOTHING: Final[Document] = {"replies": 0, "usd": 0.0, "tokens_in": 0, "tokens_out": 0}


def _filed(_: Document | None, event: Event) -> Document:
    return {"service": event.data["service"], "spec": event.data["spec"], "models": {}}


def _asked(document: Document | None, event: Event) -> Document:
    document = begun(document, event)
    if usage := event.data.get("usage"):
        models, model = document["models"], usage["model"]
        models[model] = more(models.get(model, NOTHING), usage | {"replies": 1})
    return document


def more(sums: Document, other: Mapping[str, Any]) -> Document:
    """The sums of both; None where one of them is not known."""
    return {
        name: None if one is None or other[name] is None else one + other[name] for name, one in sums.items()
    }  # fmt: skip


BUDGETS: Final = Projection(
    name="budgets", version=1, folds={e.TicketFiled.__name__: _filed, e.ActionTaken.__name__: _asked}, key=ticket_of
)
"""By ticket id."""
