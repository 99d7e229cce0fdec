"""Decides how an event that was written in an earlier version is read as today's. Touches nothing.

The ledger is never rewritten: an event stays as it was written, and whoever reads it takes it through ``decode``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import ValidationError

from harness.core.errors import Broken
from harness.core.events import EVENTS, Event
from harness.core.record import Recorded

Data = dict[str, Any]
Upcaster = Callable[[Data], Data]
"""The data of version n → that of version n + 1. What was never written is None there, and not made up."""


def _main_unknown(data: Data) -> Data:
    return {"main": None, **data}


def _onto_unknown(data: Data) -> Data:
    return {"onto": None, **data}


def _place_unknown(data: Data) -> Data:
    return {"since": None, "budget_left": None, **data}


def _a_tunable(data: Data) -> Data:
    return {"sort": "tunable", "name": data["tunable"], **{key: data[key] for key in data if key != "tunable"}}


def _one_word_more(data: Data) -> Data:
    """A kind that could not be named before; what was named keeps its name."""
    return data


def _no_test_written(data: Data) -> Data:
    """What was judged before `no regression` was a test rests on two values; the field says so by its absence."""
    return data


UPCASTERS: Final[Mapping[tuple[str, int], Upcaster]] = {
    # Both fields came while the version was 1 already, so that some events of version 1 have them.
    ("ChecksPassed", 1): _onto_unknown,
    ("WayBackBegun", 1): _main_unknown,
    ("OpportunityOffered", 1): _a_tunable,
    ("OpportunityOffered", 2): _one_word_more,
    ("DeliveryWaits", 1): _place_unknown,
    ("SignalStarted", 1): _one_word_more,
    ("TicketFiled", 1): _one_word_more,
    ("CriteriaMet", 1): _no_test_written,
    ("CriteriaNotMet", 1): _no_test_written,
    ("GateJudged", 1): _no_test_written,
}
"""(type, version) → the way to the next version; one for every version below today's, or a test fails."""


def decode(row: Recorded) -> Event:
    """The event of a ledger row, whatever version it was written in.

    Raises Broken for a type or version that this harness does not know, and for data that are not of their version's
    shape. The row stays what it is: ``verify`` asks only for its hash.
    """
    kind = EVENTS.get(row.type)
    if kind is None or row.schema_version > kind.schema_version:
        known = "no event of that type" if kind is None else f"that event up to version {kind.schema_version}"
        raise Broken(
            f"position {row.position}: {row.type} of schema version {row.schema_version} was written by a newer "
            f"harness, this one knows {known}; read the ledger with that harness. Nothing is lost: `harness ledger "
            "verify` proves the chain here, too"
        )
    data = row.data
    try:
        for version in range(row.schema_version, kind.schema_version):
            data = UPCASTERS[row.type, version](data)
        return kind.model_validate(data)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        fault = f"{error.error_count()} faults, the first at {place!r}"
    except (KeyError, TypeError, ValueError) as error:
        fault = f"{type(error).__name__} on the way to version {kind.schema_version}"
    raise Broken(
        f"position {row.position}: {row.type} of schema version {row.schema_version} is not of the shape that this "
        f"version has ({fault}). `harness ledger verify` tells whether it was altered; if it was not, another harness "
        "wrote it, and that one reads it"
    )
