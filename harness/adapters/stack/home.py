"""Names every path below HARNESS_HOME, so that no other file spells one. Touches no file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """The layout of HARNESS_HOME. ``root`` is absolute: processes are recognised by it."""

    root: Path

    def __post_init__(self) -> None:
        assert self.root.is_absolute(), f"HARNESS_HOME must be made absolute before use: {self.root}"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.db"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def api_token(self) -> Path:
        """The token of the local administrator: with mode 0600, and the only file that holds a secret."""
        return self.root / "api-token"

    @property
    def temporal(self) -> Path:
        return self.root / "temporal.db"

    @property
    def repos(self) -> Path:
        return self.root / "repos"

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    @property
    def venvs(self) -> Path:
        return self.root / "venvs"

    @property
    def worktrees(self) -> Path:
        return self.root / "worktrees"

    @property
    def envoy(self) -> Path:
        return self.root / "envoy"

    @property
    def prometheus(self) -> Path:
        return self.root / "prometheus"

    @property
    def nodes(self) -> Path:
        return self.root / "nodes"

    @property
    def machines(self) -> Path:
        """``machines/<node>.json``: a machine of the local stack each (``machines.py``)."""
        return self.root / "machines"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def sockets(self) -> Path:
        """A symbolic link to a short folder, because an AF_UNIX path holds 107 bytes. Resolve it before use."""
        return self.root / "sockets"

    @property
    def stack(self) -> Path:
        """``run/stack.json``: the addresses of the running stack (``addresses.py``)."""
        return self.run / "stack.json"

    @property
    def plan(self) -> Path:
        """``run/plan.json``: what the supervisor was told to keep running (``plan.py``)."""
        return self.run / "plan.json"

    @property
    def state(self) -> Path:
        """``run/state.json``: what the supervisor says is running (``state.py``)."""
        return self.run / "state.json"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def pid_file(self, name: str) -> Path:
        return self.run / f"{name}.pid"

    def ready_file(self, name: str) -> Path:
        return self.run / f"{name}.ready"

    def folders(self) -> tuple[Path, ...]:
        """The folders that exist before any process of the stack starts."""
        return (self.blobs, self.repos, self.releases, self.venvs, self.worktrees, self.envoy,
                self.prometheus, self.nodes, self.machines, self.logs, self.run)  # fmt: skip
