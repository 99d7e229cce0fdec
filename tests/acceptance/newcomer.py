"""Types `harness` commands in a HARNESS_HOME of its own, as a person would. Imports nothing of the harness."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

NOTHING: Mapping[str, str] = {}
SECRETS: Mapping[str, str] = MappingProxyType(
    {"HARNESS_TEST_SECRET": 'planted "here"/by a test 1', "NEWCOMERS_API_KEY": "sk-of-a-newcomer-0123456789"}
)
"""What nobody is to find again: the first is put into a signal and a tool's answer, the second is only there."""
HARNESS = Path(sys.executable).with_name("harness")
ROOT = Path(__file__).parents[2]
OWN_SETTINGS = ("HARNESS_", "TEMPORAL_", "PROMETHEUS_URL")
"""Variables of whoever runs the tests: what is tested is not to depend on them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command ended, and what it said."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.stdout)


class Newcomer:
    """Somebody with one HARNESS_HOME and settings of their own, who runs commands one after the other."""

    def __init__(self, home: Path, settings: Mapping[str, str] = NOTHING) -> None:
        self.home = home
        self.settings = settings

    def types(self, *words: str, timeout_s: float = 60.0, environment: Mapping[str, str] = NOTHING) -> Answer:
        """Run one command to its end, with these variables set. Raises TimeoutExpired when it takes longer."""
        done = subprocess.run(
            [HARNESS, *words], env=self._environment(environment), capture_output=True, text=True, timeout=timeout_s
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def starts(self, *words: str) -> subprocess.Popen[str]:
        """Start a command and go on."""
        return subprocess.Popen(
            [HARNESS, *words],
            env=self._environment(NOTHING), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(OWN_SETTINGS)}
        return {**inherited, **SECRETS, **self.settings, "HARNESS_HOME": str(self.home), **more}
