"""What a projection is, and how it goes on by a page of events. Pure: documents come in and go out, nothing is touched.

A projection is made of documents by key. Each is folded from the events of its key alone, one at a time, so that it
does not matter where a page ended, nor how often the work was begun again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.core.canonical import canonical_value
from harness.core.errors import Broken
from harness.core.ids import ticket_stream
from harness.core.record import Told

Document = dict[str, Any]
"""JSON values only; ids, numbers, enums and references of blobs. No bodies: a blob may be dropped, a document not."""


class Event:
    """An event as folds see it. Its data are parsed when they are asked for: most folds only count."""

    __slots__ = ("_data", "told")

    def __init__(self, told: Told, data: Mapping[str, Any] | None = None) -> None:
        self.told = told
        self._data = data

    @property
    def data(self) -> Mapping[str, Any]:
        """In the shape that this version of the harness knows. Raises Broken when they are damaged."""
        if self._data is None:
            self._data = _parsed(self.told)
        return self._data


Fold = Callable[[Document | None, Event], Document | None]
"""The document of a key after an event; None: there is none. It may change the one that it is given."""


@dataclass(frozen=True, slots=True)
class Projection:
    """The rules of one projection. Whoever changes what ``folds`` make of a ledger raises ``version``: what was stored
    by another version is thrown away and folded anew."""

    name: str
    version: int
    folds: Mapping[str, Fold]
    """By the type of the event; the others are passed over, unparsed."""
    key: Callable[[Event], str]

    def keyed(self, events: Iterable[Event]) -> list[tuple[str, Event]]:
        """Those of the events that it is made of, with the keys of their documents."""
        folds, key_of = self.folds, self.key
        return [(key_of(event), event) for event in events if event.told.type in folds]

    def apply(self, documents: dict[str, Document | None], keyed: Iterable[tuple[str, Event]]) -> set[str]:
        """Folds events into the documents of their keys, in place; gives the keys that they have touched.

        ``documents`` has every document that there is for these keys.
        """
        touched, folds = set(), self.folds
        for key, event in keyed:
            documents[key] = folds[event.told.type](documents.get(key), event)
            touched.add(key)
        return touched


def ticket_of(event: Event) -> str:
    """The ticket in whose stream it is."""
    return event.told.stream.removeprefix(_TICKET)


def begun(document: Document | None, event: Event) -> Document:
    """The document that its first event made; raises Broken when that event is not there."""
    if document is None:
        told = event.told
        raise Broken(
            f"position {told.position}: {told.type} is in {told.stream!r}, which does not begin with TicketFiled; "
            "run `harness ledger verify`"
        )
    return document


def _parsed(told: Told) -> Any:
    try:
        return canonical_value(told.data)
    except ValueError as error:
        raise Broken(
            f"the event at position {told.position} is damaged: {error}; run `harness ledger verify`"
        ) from error


_TICKET = ticket_stream("")
