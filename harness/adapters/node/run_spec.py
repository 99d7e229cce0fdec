"""Reads from a release's own manifest how that release is built, started, asked and stopped. Reads one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.adapters.declarations import read_yaml
from harness.core.errors import Invalid
from harness.core.manifest import Build, Run


@dataclass(frozen=True, slots=True)
class RunSpec:
    """The two parts of a manifest that a node needs. The others are not read: a node starts what it is told to."""

    build: Build
    run: Run

    @classmethod
    def from_manifest_file(cls, path: Path) -> RunSpec:
        """Of a ``service.yaml``. Raises Invalid, naming the key that is wrong."""
        manifest = read_yaml(path)
        if not isinstance(manifest, dict):
            raise Invalid(f"{path.name}: must be a mapping with build and run, not {type(manifest).__name__}")
        return cls(
            build=Build.parse(manifest.get("build", {}), f"{path.name}: build"),
            run=Run.parse(manifest.get("run", {}), f"{path.name}: run"),
        )

    def argv(self, socket: str) -> list[str]:
        """The command that listens on ``socket``."""
        return [word.replace("{socket}", socket) for word in self.run.command]
