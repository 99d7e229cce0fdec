"""Runs declared checks and probes in the sandbox. Touches temporary folders and the sandbox, nothing that is served."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from harness.adapters.checks.inside.harness_reporter import MARK
from harness.adapters.releases import ReleaseStore
from harness.adapters.sandbox import TREE_DIR, Finished, Sandbox
from harness.core.errors import Invalid
from harness.core.events import Wait
from harness.core.manifest import Check, Manifest, Probe
from harness.ports import CheckRun, ProbeRun, Repository

_INSIDE: Final = Path(__file__).parent / "inside"
_REPORTER_DIR: Final = "/run/harness"
_HEAD_DIR: Final = "/run/head"
_PROBE_MEMORY_BYTES: Final = 1024**3


class SandboxedChecks:
    """Checks and probes of one service, as declared by the commit that is the base (or head) of each run."""

    def __init__(self, *, sandbox: Sandbox, releases: ReleaseStore, repository: Repository, scratch: Path) -> None:
        self._sandbox = sandbox
        self._releases = releases
        self._repository = repository
        self._scratch = scratch
        self._required: dict[tuple[str, str], frozenset[str]] = {}

    async def prepare(self) -> None:
        """Build what the checks of main need, so that the first check does not have to wait for it."""
        main = self._repository.main()
        tree = await asyncio.to_thread(self._releases.folder, main)
        manifest = self._repository.manifest(main)
        for lock in {manifest.build.lock, *(check.lock for check in manifest.checks)}:
            await asyncio.to_thread(self._releases.venv_for, tree / lock)

    async def check(self, name: str, commit: str, base: str) -> CheckRun:
        """Run a check on a commit, with every protected path as it is in ``base``.

        A check by pytest passes when it exits 0 and each of the base's protected tests was seen to pass.
        """
        manifest = self._repository.manifest(base)
        check = next(check for check in manifest.checks if check.name == name)
        required, finished = await asyncio.gather(
            self._protected_tests(check, manifest, base), self._run_check(check, manifest, commit, base)
        )
        report = _report(finished.stdout)
        reason = _failure(finished, check, required, report)
        return CheckRun(
            name=name, exit_code=finished.exit_code, passed=not reason, reason=reason,
            tests_passed=len(report["passed"]) if report else None, output=finished.stdout + finished.stderr,
            wait=_wait(finished, f"check {name}"),
        )  # fmt: skip

    async def probe(self, name: str, commit: str, head: str) -> ProbeRun:
        """Run the probe that ``head`` declares on a commit's tree; no measures when the tree can't be measured."""
        probe = next(probe for probe in self._repository.manifest(head).probes if probe.name == name)
        tree = await asyncio.to_thread(self._releases.folder, commit)
        head_tree = await asyncio.to_thread(self._releases.folder, head)
        venv = await asyncio.to_thread(self._releases.venv_for, tree / self._repository.manifest(commit).build.lock)
        finished = await self._sandbox.run(
            [word.replace("{head}", _HEAD_DIR).replace("{tree}", TREE_DIR) for word in probe.command],
            tree=tree, venv=venv, timeout_s=probe.timeout_s, memory_bytes=_PROBE_MEMORY_BYTES,
            extra_ro={_HEAD_DIR: head_tree},
        )  # fmt: skip
        measures, reason = _measures(finished, probe)
        return ProbeRun(measures=measures, reason=reason, wait=_wait(finished, f"probe {name} on {commit[:12]}"))

    async def _protected_tests(self, check: Check, manifest: Manifest, base: str) -> frozenset[str]:
        """Ids of the tests below the protected paths, as the base collects them; none for a check without pytest."""
        if not _is_pytest(check):
            return frozenset()
        key = (self._repository.tree(base), check.name)
        if key not in self._required:
            finished = await self._run_check(check, manifest, base, base, "--collect-only")
            report = _report(finished.stdout)
            if report is None:
                raise Invalid(
                    f"check {check.name}: its tests cannot be collected on the base {base[:12]}, so nothing can be "
                    f"compared with them: {(finished.stdout + finished.stderr)[-500:]}"
                )
            self._required[key] = frozenset(
                test for test in report["collected"] if test.startswith(tuple(manifest.protected_paths))
            )
        return self._required[key]

    async def _run_check(self, check: Check, manifest: Manifest, commit: str, base: str, *extra: str) -> Finished:
        tree = await asyncio.to_thread(self._releases.folder, commit)
        base_tree = await asyncio.to_thread(self._releases.folder, base)
        venv = await asyncio.to_thread(self._releases.venv_for, base_tree / check.lock)
        with tempfile.TemporaryDirectory(dir=self._scratch, prefix="check-") as folder:
            mixed = Path(folder) / "tree"
            await asyncio.to_thread(_mix, tree, base_tree, manifest.protected_paths, mixed)
            Path(folder).chmod(0o755)
            return await self._sandbox.run(
                [*(word.replace("{tree}", TREE_DIR) for word in check.command), *extra],
                tree=mixed, venv=venv, timeout_s=check.timeout_s, memory_bytes=check.memory_bytes,
                extra_ro={_REPORTER_DIR: _INSIDE},
                env={
                    "PYTHONPATH": f"{TREE_DIR}/{manifest.build.python_path}:{_REPORTER_DIR}",
                    "PYTEST_PLUGINS": "harness_reporter", "PYTHONDONTWRITEBYTECODE": "1",
                },
            )  # fmt: skip


def _mix(tree: Path, base: Path, protected: Sequence[str], target: Path) -> None:
    """The tree with its protected paths as in the base: what judges a change is not the change's to edit."""
    shutil.copytree(tree, target, symlinks=True)
    for folder in [target, *(path for path in target.rglob("*") if path.is_dir() and not path.is_symlink())]:
        folder.chmod(0o755)
    for path in protected:
        mine, theirs = target / path, base / path
        if mine.is_dir() and not mine.is_symlink():
            shutil.rmtree(mine)
        else:
            mine.unlink(missing_ok=True)
        if theirs.is_dir():
            shutil.copytree(theirs, mine, symlinks=True)
        elif theirs.exists():
            mine.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(theirs, mine)


def _is_pytest(check: Check) -> bool:
    return any(Path(word).name == "pytest" for word in check.command)


def _report(stdout: str) -> dict[str, Any] | None:
    lines = [line for line in stdout.splitlines() if line.startswith(MARK)]
    try:
        report = json.loads(lines[-1].removeprefix(MARK)) if len(lines) == 1 else None
    except ValueError:
        return None
    return report if isinstance(report, dict) else None


def _failure(finished: Finished, check: Check, required: frozenset[str], report: dict[str, Any] | None) -> str:
    """Why the check did not pass; empty when it did."""
    if finished.timed_out:
        return f"not done after {check.timeout_s:g} s"
    if finished.out_of_memory:
        return f"more than {check.memory_bytes} bytes of memory were used"
    if finished.exit_code != 0:
        failed = ", ".join(report["failed"][:5]) if report else ""
        return f"exit code {finished.exit_code}" + (f": {failed}" if failed else "")
    if not _is_pytest(check):
        return ""
    if report is None:
        return "exit code 0, but the run ended without its report: not one test is known to have passed"
    if missing := sorted(required - set(report["passed"])):
        return f"{len(missing)} protected tests did not pass, {missing[0]} among them"
    return "" if report["passed"] else "no test ran"


def _measures(finished: Finished, probe: Probe) -> tuple[dict[str, list[float]] | None, str]:
    if finished.exit_code != 0:
        said = (finished.stdout + finished.stderr).strip()[-300:]
        return None, f"the probe ended with {'no answer in time' if finished.timed_out else finished.exit_code}: {said}"
    try:
        document = json.loads(finished.stdout.strip().splitlines()[-1])
        measures = {name: [float(value) for value in document[name]] for name in probe.measures}
    except (ValueError, KeyError, TypeError, IndexError) as error:
        return None, f"the probe printed no measures ({error!r}): {finished.stdout[-300:]}"
    return measures, ""


def _wait(finished: Finished, what: str) -> Wait:
    return Wait(kind="check", what=what, opened_at=finished.started_at, closed_at=finished.ended_at)
