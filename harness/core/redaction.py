"""Which texts are secret, how they are taken out of a document, and whether bytes still hold one. Touches nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

REDACTED: Final = "[redacted]"
SHORTEST_SECRET: Final = 6
"""A shorter value occurs by chance in any text; it is counted as not searched for."""
_NAMES = re.compile(r".*_(API_KEY|TOKEN|SECRET|PASSWORD)")


@dataclass(slots=True)
class Secrets:
    """The secrets of an environment (variable → value), and how often one of them was taken out."""

    values: Mapping[str, str]
    too_short: int = 0
    taken_out: int = 0
    _pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        longest_first = sorted(set(self.values.values()), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Secrets:
        """Those of the variables whose names say so."""
        named = {name: value for name, value in environment.items() if _NAMES.fullmatch(name) and value}
        values = {name: value for name, value in named.items() if len(value) >= SHORTEST_SECRET}
        return cls(values, too_short=len(named) - len(values))

    def taken_from(self, value: Any) -> Any:
        """The same JSON value without a secret in any text of it, names of fields included."""
        if not self.values:
            return value
        if isinstance(value, str):
            clean, count = self._pattern.subn(REDACTED, value)
            self.taken_out += count
            return clean
        if isinstance(value, dict):
            return {self.taken_from(key): self.taken_from(inner) for key, inner in value.items()}
        return [self.taken_from(inner) for inner in value] if isinstance(value, list) else value

    def found_in(self, written: bytes) -> str | None:
        """The variable whose value is in these bytes, as it stands or as JSON writes it; None when there is none."""
        for name, value in self.values.items():
            forms = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
            if any(form.encode(errors="surrogateescape") in written for form in forms):
                return name
        return None
