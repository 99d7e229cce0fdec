"""What a golden file of an event holds, and how one is chosen and written. Touches only tests/golden/events.

A file is for one version of one event, and is never written again. ``shape`` is the hash of the version's JSON Schema
without its words, so that a class cannot change under its version. ``examples`` are as the ledger got them, each with
where it is from. An example that leaves out what has a default says how it is ``with_defaults``; one of an earlier
version that is other data in the next one says what it ``becomes`` there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.core.canonical import canonical_bytes
from harness.core.events import Event

FOLDER = Path(__file__).parent / "events"
EXAMPLES = 3
WORDS = {"title", "description", "$schema"}


@dataclass(frozen=True)
class Golden:
    """One version of one event, as it was written."""

    type: str
    version: int
    shape: str
    examples: tuple[dict[str, Any], ...]

    @classmethod
    def read(cls, path: Path) -> Golden:
        document = json.loads(path.read_text())
        return cls(document["type"], document["schema_version"], document["shape"], tuple(document["examples"]))

    @property
    def name(self) -> str:
        return f"{self.type}.v{self.version}"

    def write(self) -> None:
        """Raises FileExistsError: what was written once stays."""
        document = {
            "type": self.type, "schema_version": self.version, "shape": self.shape, "examples": self.examples,
        }  # fmt: skip
        with (FOLDER / f"{self.name}.json").open("x") as file:
            file.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def shape_of(schema: dict[str, Any]) -> str:
    """The hash of a JSON Schema without what is only said to people."""
    return sha256(canonical_bytes(_without_words(schema))).hexdigest()


def shape(event: type[Event]) -> str:
    """The shape that the class has today."""
    return shape_of(event.model_json_schema())


def _without_words(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_words(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: part for name, part in schema.items() if name not in WORDS}
    fields = {name: _without_words(field) for name, field in kept.pop("properties", {}).items()}
    return {"properties": fields} | {name: _without_words(part) for name, part in kept.items()}


def chosen(written: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Few of many examples: each next one shows most of what none before it showed."""
    left, taken, shown = list(written), [], set[tuple[str, str]]()
    while left and len(taken) < EXAMPLES:
        best = max(left, key=lambda one: (len(set(features(one["data"])) - shown), -len(str(one["data"]))))
        if taken and set(features(best["data"])) <= shown:
            break
        taken.append(best)
        left.remove(best)
        shown |= set(features(best["data"]))
    return tuple(taken)


def features(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Which fields are filled, with values of which kind."""
    yield path, type(value).__name__
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from features(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from features(inner, f"{path}[]")
