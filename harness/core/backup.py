"""Decides the form of a ledger's backup: its manifest, and an event as a line of JSON. Touches nothing.

A line holds the columns of a row by their names, in the order in which they are hashed, with ``data`` as JSON within:
any JSON library can read a backup, and check its chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.core.canonical import canonical_bytes
from harness.core.chain import Row
from harness.core.errors import Broken, Invalid
from harness.core.record import Head

LONGEST_LINE_BYTES: Final = 1024 * 1024
"""More than any event that can be appended needs."""


class Manifest(BaseModel):
    """What a backup holds: all ``events`` up to the head, and ``blobs`` bodies, in ``files`` of ``size_bytes`` in all.

    ``sums`` is the SHA-256 (hex) of the file that names the SHA-256 of every other one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: Literal["harness-ledger-backup"] = "harness-ledger-backup"
    version: Literal[1] = 1
    ledger: str | None
    events: int = Field(ge=0)
    head_hash: str
    taken_at: datetime
    blobs: int = Field(ge=0)
    files: int = Field(ge=1)
    size_bytes: int = Field(ge=0)
    sums: str

    @property
    def head(self) -> Head:
        """The last event that is in the backup."""
        return Head(self.events, self.head_hash)

    @classmethod
    def read(cls, written: bytes, name: str) -> Manifest:
        """Raises ``Invalid`` for what is no manifest, or one of a form that this version does not know."""
        try:
            return cls.model_validate_json(written)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            place = ".".join(map(str, first["loc"])) or "$"
            raise Invalid(f"{name}: {place}: {first['msg']}; it is no manifest that this version can read") from None


def line_of(row: Row) -> bytes:
    """A row as a line, with its end."""
    columns: dict[str, object] = row._asdict()
    columns["data"] = orjson.Fragment(row.data)
    return orjson.dumps(columns, option=orjson.OPT_APPEND_NEWLINE)


def row_of(line: bytes, place: str) -> Row:
    """The row of a line; its values are still to be checked. Raises ``Broken`` for what ``line_of`` never wrote."""
    try:
        columns: Any = orjson.loads(line)
        if not isinstance(columns, Mapping) or tuple(columns) != Row._fields:
            raise ValueError("it has not the columns of an event")
        return Row(**{**columns, "data": canonical_bytes(columns["data"], name="data").decode()})
    except (ValueError, Invalid) as error:
        raise Broken(f"{place}: is no event ({error}); take another backup") from None
