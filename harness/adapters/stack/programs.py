"""Finds the programs that the stack is made of, and says how to get one that is missing. Starts none."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import Retryable

NEEDED_FOR = {
    "temporal": "runs the workflows; `make setup` installs it from requirements.lock, or name one by TEMPORAL_ADDRESS",
    "prometheus": "measures; on Debian `apt-get install prometheus`, or name one by PROMETHEUS_URL",
    "setpriv": "ties processes to their supervisor; on Debian it is in `util-linux`",
    "git": "holds the service's code; on Debian `apt-get install git`",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Absolute paths."""

    python: str
    temporal: str
    prometheus: str


def find_programs(*, own_temporal: bool, own_prometheus: bool) -> Programs:
    """The programs beside this Python (what the lock installed) before those on PATH.

    A part that somebody else runs needs no program, its path is empty. Raises Retryable for a missing one.
    """
    find_program("setpriv")
    find_program("git")
    return Programs(
        python=sys.executable,
        temporal=find_program("temporal") if own_temporal else "",
        prometheus=find_program("prometheus") if own_prometheus else "",
    )


def find_program(name: str) -> str:
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    found = beside or shutil.which(name)
    if found is None:
        raise Retryable(f"{name}: not found, it {NEEDED_FOR[name]}")
    return found
