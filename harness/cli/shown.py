"""Bodies as people see them: in the place of one that was dropped stand the words of who did it and why. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.core.dropping import in_its_place
from harness.core.errors import Broken, Dropped
from harness.ports import Blobs


@dataclass(frozen=True, slots=True)
class Shown:
    """The same blobs for a page that has to go on where one is dropped. What is decided by is read from ``blobs``."""

    blobs: Blobs

    def put_json(self, value: Any) -> str:
        raise Broken("a page reads only")

    def get_json(self, ref: str) -> Any:
        try:
            return self.blobs.get_json(ref)
        except Dropped as dropped:
            return in_its_place(str(dropped))
