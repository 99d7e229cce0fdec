"""Decides which bodies an event refers to, and what the whole ledger still needs of them. Touches nothing.

Two answers. ``declared``: the fields of type ``BlobRef``; each of them must be there to read. ``mentioned``: every text
anywhere in the data that has the form of a reference, of events of any version; what is mentioned is never collected.
The second holds the first, and more: the hash that an approval is for has the same form and names no body.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic import BaseModel, StringConstraints

from harness.core import events as e
from harness.core.blob import digest, is_reference

DROPPED: Final = e.BlobDropped.__name__
_PATTERN: Final = next(one.pattern for one in get_args(e.BlobRef) if isinstance(one, StringConstraints))


def mentioned(value: Any) -> Iterator[e.BlobRef]:
    """Every text in a JSON value that has the form of a reference."""
    ahead = [value]
    while ahead:
        one = ahead.pop()
        if isinstance(one, str):
            if is_reference(one):
                yield one
        elif isinstance(one, Mapping):
            ahead += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple):
            ahead += one


References = Mapping[e.BlobRef, Collection[str]]
"""Each declared reference of an event, with its fields."""


@cache
def blob_fields(kind: type[BaseModel]) -> tuple[tuple[str, ...], ...]:
    """The path of every field of type ``BlobRef``, those of inner values included: ``("outcomes", "output")``."""
    found: list[tuple[str, ...]] = []
    for name, about in kind.model_fields.items():
        if any(_is_ref(one) for one in about.metadata):
            found.append((name,))
        found += [(name, *path) for path in _within(about.annotation)]
    return tuple(dict.fromkeys(found))


def _within(annotation: Any) -> Iterator[tuple[str, ...]]:
    if get_origin(annotation) is Annotated and any(_is_ref(one) for one in get_args(annotation)[1:]):
        yield ()
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from blob_fields(annotation)
    for inner in get_args(annotation):
        yield from _within(inner)


def _is_ref(constraint: Any) -> bool:
    return isinstance(constraint, StringConstraints) and constraint.pattern == _PATTERN


def declared(kind: type[e.Event], data: Mapping[str, Any]) -> References:
    """Each reference of an event of this kind with the fields that hold it, ``outcomes.output``."""
    found: dict[e.BlobRef, set[str]] = {}
    for path in blob_fields(kind):
        for ref in _at(data, path):
            found.setdefault(ref, set()).add(".".join(path))
    return found


def _at(value: Any, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for one in value:
            yield from _at(one, path)
    elif path and isinstance(value, Mapping):
        yield from _at(value.get(path[0]), path[1:])
    elif not path and isinstance(value, str) and is_reference(value):
        yield value


@dataclass(slots=True)
class _Body:
    mentioned_at: int = 0
    declared_at: int = 0
    dropped_at: int = 0
    drops: int = 0
    forgotten: bool = False


@dataclass(slots=True)
class Referred:
    """What the events up to a position say of bodies, folded in order; a few hundred bytes of memory a body."""

    position: int = 0
    _bodies: dict[bytes, _Body] = field(default_factory=dict)

    def see(self, position: int, kind: str, data: Mapping[str, Any], refs: References) -> None:
        """The next event; ``refs`` are its declared references."""
        self.position = position
        dropped = data.get("blob") if kind == DROPPED else None
        for ref in mentioned(data):
            if ref == dropped:
                continue
            body = self._body(ref)
            body.mentioned_at = position
            if ref in refs:
                body.declared_at = position
        if dropped is not None:
            body = self._body(dropped)
            body.dropped_at = position
            body.drops += 1
            body.forgotten = body.forgotten or data.get("cause") != "expired"

    def needs(self, ref: e.BlobRef) -> bool:
        """Whether an event that was recorded after it was dropped, if ever it was, mentions it."""
        body = self._bodies.get(_key(ref))
        return body is not None and not body.forgotten and body.mentioned_at > body.dropped_at

    def forgot(self, ref: e.BlobRef) -> bool:
        """Whether a person had it forgotten: it is needed no more, whatever is recorded later."""
        body = self._bodies.get(_key(ref))
        return body is not None and body.forgotten

    def drops_of(self, ref: e.BlobRef) -> int:
        """How often it was dropped: the version of its stream."""
        body = self._bodies.get(_key(ref))
        return 0 if body is None else body.drops

    def is_empty(self) -> bool:
        """Whether no event mentions any body."""
        return not self._bodies

    def readable(self) -> Iterator[tuple[e.BlobRef, int]]:
        """Every body that must be there to read, by its hash, with the position of the last event that refers to it."""
        for key in sorted(self._bodies):
            body = self._bodies[key]
            if not body.forgotten and body.declared_at > body.dropped_at:
                yield f"sha256:{key.hex()}", body.declared_at

    def forgotten(self) -> Iterator[e.BlobRef]:
        """Every body that a person had forgotten."""
        return (f"sha256:{key.hex()}" for key, body in self._bodies.items() if body.forgotten)

    def gone(self) -> int:
        """How many bodies were dropped and are not needed again."""
        return sum(body.forgotten or body.mentioned_at < body.dropped_at for body in self._bodies.values())

    def _body(self, ref: e.BlobRef) -> _Body:
        return self._bodies.setdefault(_key(ref), _Body())


def _key(ref: e.BlobRef) -> bytes:
    return bytes.fromhex(digest(ref))
