"""What was really done to the modelled world, in order, so that it can be counted outside of the harness. Values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Effect:
    """One change of the world: a node carried out an order or came or went, shares were written, a commit, main moved.

    ``key`` names it: two effects with the same kind and key are the same thing done twice.
    """

    kind: Literal["order", "weights", "commit", "main", "machine"]
    key: str
    detail: str


Done = Callable[[Effect], None]
"""Told of every effect right after it; what it raises, the harness sees as the end of its call."""
