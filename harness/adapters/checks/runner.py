"""Runs declared checks and probes in the sandbox. Touches temporary folders and the sandbox, nothing that is served.

A check by pytest is two runs at once. One has the tests that the change brings, under its own configuration. The other
has the protected tests alone: they, the configuration and every conftest above them come from the base, nothing that
the change brings is loaded beside them, and no module of the change can take the name of one that they use. Each run
reports by a word of its own (``inside/harness_pytest.py``). What is left to a hostile change: a protected test that
imports the service runs it in the judging process, where it could reach pytest itself. One that talks to the service
as a process leaves it no way in, so those are the ones to trust. Where an ordinary user runs the harness, all of a
sandbox has one uid, and the word is only as secret as the files of that user. A check by any other command counts by
its exit code alone.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from harness.adapters.checks.mix import mix, steering
from harness.adapters.checks.outcome import (
    Report,
    read_measures,
    read_report,
    why_ended,
    why_own_failed,
    why_protected_failed,
    without_report,
)
from harness.adapters.releases import ReleaseStore
from harness.adapters.sandbox import TREE_DIR, Finished, Sandbox
from harness.adapters.scratch import scratch_folder
from harness.core.errors import Invalid
from harness.core.events import Wait
from harness.core.manifest import Check, Manifest, Probe
from harness.ports import CheckRun, ProbeRun, Repository

_INSIDE: Final = Path(__file__).parent / "inside"
_INSIDE_DIR: Final = "/run/harness"
_HEAD_DIR: Final = "/run/head"
_PROBE_MEMORY_BYTES: Final = 1024**3


T = TypeVar("T", Check, Probe)


@dataclass(frozen=True, slots=True)
class _Trial:
    """A check, what it runs on, and what it is judged by."""

    check: Check
    manifest: Manifest
    commit: str
    base: str


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

        A check by pytest passes when its own tests and every protected test of the base passed; ``tests_passed``
        counts both. Raises Invalid for a check that ``base`` does not declare or can't collect, and for a tree that
        can't be unpacked.
        """
        manifest = self._repository.manifest(base)
        trial = _Trial(_declared(name, manifest.checks, base), manifest, commit, base)
        arguments = _pytest_arguments(trial.check)
        if arguments is None:
            finished = await self._run_plain(trial)
            return _check_run(trial.check, why_ended(finished, trial.check), [finished], None)
        apart = [f"--ignore={path}" for path in _folders(manifest.protected_paths)]
        (own, own_report), (required, protected, protected_report) = await asyncio.gather(
            self._run_pytest(trial, [*arguments, *apart], from_base=manifest.protected_paths, trusted=None),
            self._judge(trial, arguments),
        )
        runs, passed = [own], own_report.passed if own_report else frozenset()
        reason = why_own_failed(own, trial.check, own_report, may_be_none=bool(required))
        if protected is not None:
            runs.append(protected)
            passed |= protected_report.passed if protected_report else frozenset()
            reason = why_protected_failed(protected, trial.check, protected_report, required) or reason
        return _check_run(trial.check, reason, runs, len(passed))

    async def probe(self, name: str, commit: str, head: str) -> ProbeRun:
        """Run the probe that ``head`` declares on a commit's tree; no measures when the tree can't be measured.

        Raises Invalid for a probe that ``head`` does not declare, or a commit without manifest or locked packages.
        """
        probe = _declared(name, self._repository.manifest(head).probes, head)
        tree = await asyncio.to_thread(self._releases.folder, commit)
        head_tree = await asyncio.to_thread(self._releases.folder, head)
        venv = await asyncio.to_thread(self._releases.venv_for, tree / self._repository.manifest(commit).build.lock)
        finished = await self._sandbox.run(
            [word.replace("{head}", _HEAD_DIR).replace("{tree}", TREE_DIR) for word in probe.command],
            tree=tree, venv=venv, timeout_s=probe.timeout_s, memory_bytes=_PROBE_MEMORY_BYTES,
            extra_ro={_HEAD_DIR: head_tree},
        )  # fmt: skip
        measures, reason = read_measures(finished, probe)
        return ProbeRun(measures=measures, reason=reason, wait=_wait([finished], f"probe {name} on {commit[:12]}"))

    async def _judge(
        self, trial: _Trial, arguments: Sequence[str]
    ) -> tuple[frozenset[str], Finished | None, Report | None]:
        """The protected tests' ids, and their run on the commit; no run when there are none."""
        required = await self._protected_tests(trial, arguments)
        if not required:
            return required, None, None
        finished, report = await self._run_protected(trial, ["-q", *sorted(required)], required)
        return required, finished, report

    async def _protected_tests(self, trial: _Trial, arguments: Sequence[str]) -> frozenset[str]:
        """Ids of the tests below the protected paths, as the base collects them."""
        key = (self._repository.tree(trial.base), trial.check.name)
        if key not in self._required:
            on_base = _Trial(trial.check, trial.manifest, trial.base, trial.base)
            finished, report = await self._run_protected(on_base, [*arguments, "--collect-only"], ())
            if report is None or report.exit_code != 0:
                raise Invalid(
                    f"check {trial.check.name}: its tests cannot be collected on the base {trial.base[:12]}, so "
                    f"nothing can be compared with them: {(finished.stdout + finished.stderr)[-500:]}"
                )
            protected = tuple(trial.manifest.protected_paths)
            self._required[key] = frozenset(test for test in report.collected if test.startswith(protected))
        return self._required[key]

    async def _run_protected(
        self, trial: _Trial, arguments: Sequence[str], tests: Iterable[str]
    ) -> tuple[Finished, Report | None]:
        protected = trial.manifest.protected_paths
        folders = {f"{TREE_DIR}/{PurePosixPath(test.partition('::')[0]).parent}" for test in tests}
        return await self._run_pytest(
            trial, [f"--rootdir={TREE_DIR}", *arguments], from_base=[*protected, *steering(protected)],
            trusted=sorted(folders),
        )  # fmt: skip

    async def _run_pytest(
        self, trial: _Trial, arguments: Sequence[str], *, from_base: Sequence[str], trusted: Sequence[str] | None
    ) -> tuple[Finished, Report | None]:
        word, order_name = secrets.token_hex(16), f".order-{secrets.token_hex(8)}"
        order = {
            "word": word, "arguments": arguments, "trusted": trusted,
            "paths": [TREE_DIR, f"{TREE_DIR}/{trial.manifest.build.python_path}"],
        }  # fmt: skip
        finished = await self._run(
            trial,
            ["python", "-I", f"{_INSIDE_DIR}/harness_pytest.py", f"{TREE_DIR}/{order_name}"],
            from_base,
            {order_name: json.dumps(order)},
        )
        shown = replace(finished, stdout=without_report(finished.stdout, word))
        return shown, read_report(finished.stdout, word)

    async def _run_plain(self, trial: _Trial) -> Finished:
        command = [word.replace("{tree}", TREE_DIR) for word in trial.check.command]
        return await self._run(trial, command, trial.manifest.protected_paths, {})

    async def _run(
        self, trial: _Trial, command: Sequence[str], from_base: Sequence[str], secret_files: dict[str, str]
    ) -> Finished:
        check, manifest = trial.check, trial.manifest
        tree = await asyncio.to_thread(self._releases.folder, trial.commit)
        base = await asyncio.to_thread(self._releases.folder, trial.base)
        venv = await asyncio.to_thread(self._releases.venv_for, base / check.lock)
        with scratch_folder(self._scratch, "check-") as folder:
            mixed = folder / "tree"
            await asyncio.to_thread(mix, tree, base, from_base, mixed)
            for name, text in secret_files.items():
                path = mixed / name
                path.touch(0o600)  # root's alone, except for the copy inside that is removed when it was read
                path.write_text(text)
            folder.chmod(0o755)
            return await self._sandbox.run(
                command, tree=mixed, venv=venv, timeout_s=check.timeout_s, memory_bytes=check.memory_bytes,
                extra_ro={_INSIDE_DIR: _INSIDE},
                env={"PYTHONPATH": f"{TREE_DIR}/{manifest.build.python_path}", "PYTHONDONTWRITEBYTECODE": "1"},
            )  # fmt: skip


def _declared(name: str, declared: Sequence[T], commit: str) -> T:
    for candidate in declared:
        if candidate.name == name:
            return candidate
    names = ", ".join(candidate.name for candidate in declared) or "nothing of the kind"
    raise Invalid(f"service.yaml of {commit[:12]} declares no {name!r}, it declares {names}")


def _pytest_arguments(check: Check) -> list[str] | None:
    """What the check tells pytest; None when it is another program."""
    words = [word.replace("{tree}", TREE_DIR) for word in check.command]
    if words[0] == "pytest":
        return words[1:]
    if words[:3] == ["python", "-m", "pytest"]:
        return words[3:]
    if any(PurePosixPath(word).name == "pytest" for word in words):
        raise Invalid(f"check {check.name}: pytest is started as [python, -m, pytest, …], not as {words}")
    return None


def _folders(protected: Sequence[str]) -> list[str]:
    return [f"{TREE_DIR}/{path}" for path in protected if path.endswith("/")]


def _check_run(check: Check, reason: str, runs: Sequence[Finished], tests_passed: int | None) -> CheckRun:
    bad = [run.exit_code for run in runs if reason and run.exit_code != 0]
    return CheckRun(
        name=check.name, exit_code=bad[0] if bad else 0, passed=not reason, reason=reason,
        tests_passed=tests_passed, output="".join(run.stdout + run.stderr for run in runs),
        wait=_wait(runs, f"check {check.name}"),
    )  # fmt: skip


def _wait(runs: Sequence[Finished], what: str) -> Wait:
    opened, closed = min(run.started_at for run in runs), max(run.ended_at for run in runs)
    return Wait(kind="check", what=what, opened_at=opened, closed_at=closed)
