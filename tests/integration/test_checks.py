"""Proves in real sandboxes that a good change passes its checks, and that no cheat does. The service is a tiny one.

The protected tests drive it as a process."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.adapters.checks import SandboxedChecks
from harness.adapters.clock import SystemClock
from harness.adapters.releases import ReleaseStore
from harness.adapters.sandbox import Sandbox
from harness.adapters.stack.home import Home
from harness.adapters.worktree import ServiceRepository
from harness.core.errors import Invalid
from harness.ports import CheckRun
from tests.integration.git_world import GitWorld
from tests.integration.test_node_sandbox import needs_bubblewrap

pytestmark = needs_bubblewrap
LOCK = Path(__file__).parents[2] / "services" / "ratelimiter" / "requirements-dev.lock"
PACKAGES = ("iniconfig", "packaging", "pluggy", "pygments", "pytest")

MANIFEST = """\
name: tiny
repository: repos/tiny.git
owners: [a-team]
build: {lock: requirements.lock, python_path: src}
run: {command: [python, -m, tiny, "{socket}"], health: /readyz, drain: /v1/drain, stop_grace: 2s}
checks:
  - {name: tests, command: [python, -m, pytest, -q, tests], lock: requirements-dev.lock, timeout: 40s, memory: 256MiB}
  - {name: brief, command: [python, -m, pytest, -q, tests], lock: requirements-dev.lock, timeout: 3s, memory: 256MiB}
  - {name: compiles, command: [python, -m, tiny, "2"], lock: requirements.lock, timeout: 5s, memory: 256MiB}
  - {name: odd, command: [python, -m, coverage, run, -m, pytest], lock: requirements.lock, timeout: 5s, memory: 256MiB}
probes:
  - {name: cost, command: [python, "{head}/probes/cost.py", "{tree}"], timeout: 5s, measures: {steps: {ratio: 2.0}}}
  - {name: brief, command: [python, "{head}/probes/cost.py", "{tree}"], timeout: 1s, measures: {steps: {ratio: 2.0}}}
protected_paths: [service.yaml, tests/contract/, probes/, requirements.lock, requirements-dev.lock]
capacity: {requests_per_s_per_node: 1}
metrics: {bad: {kind: ratio, bad: bad_total, total: all_total, unit: "%", direction: lower, good: "0"}}
traffic: {cluster: stable}
canary: {guards: [bad]}
"""

DOUBLE = '''"""Doubles its argument."""


def main(words):
    print(2 * int(words[1]), flush=True)
'''
START = "import sys\n\nfrom tiny.double import main\n\nmain(sys.argv)\n"
WRONG = DOUBLE.replace("2 *", "3 *")

CONTRACT = '''"""Protected: asks the service as a process."""

import pytest

from asking import ask


@pytest.mark.parametrize("number", [1, 2, "-3"])
def test_it_doubles(number):
    assert ask(number) == 2 * int(number)
'''
ASKING = '''"""Starts the service."""

import subprocess
import sys


def ask(number):
    done = subprocess.run([sys.executable, "-m", "tiny", str(number)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
'''
UNIT = "from tiny.double import main\n\n\ndef test_it_can_be_called():\n    main(['', '1'])\n"
CONFTEST = "import sys\nfrom pathlib import Path\n\nsys.path.insert(0, str(Path(__file__).parent / 'contract'))\n"
PROBE = '''"""Counts the lines that the service needs for an answer."""

import json
import subprocess
import sys
from pathlib import Path

tree = Path(sys.argv[1])
done = subprocess.run([sys.executable, "-m", "tiny", "2"], cwd=tree / "src", capture_output=True, text=True, check=True)
assert int(done.stdout) == 4
print("some talk\\n" + json.dumps({"steps": [len((tree / "src/tiny/double.py").read_text().splitlines())]}))
'''

IDS = [f"tests/contract/test_contract.py::test_it_doubles[{number}]" for number in ("1", "2", "-3")]


def locked(packages: tuple[str, ...]) -> str:
    """The parts of the real lock that these packages have, versions and hashes."""
    parts = re.split(r"\n(?=[a-z])", LOCK.read_text())
    return "\n".join(part for part in parts if part.startswith(tuple(f"{package}==" for package in packages))) + "\n"


@dataclass
class World:
    """A home with the tiny service, and what checks it."""

    git: GitWorld
    checks: SandboxedChecks
    scratch: Path
    base: str

    def change(self, files: dict[str, str | bytes | None], **modes: str) -> str:
        """A commit on top of the base."""
        return self.git.commit(files, onto=self.base, modes=modes)

    def check(self, files: dict[str, str | bytes | None], name: str = "tests") -> CheckRun:
        """The check of a change with these files."""
        run = asyncio.run(self.checks.check(name, self.change(files), self.base))
        assert list(self.scratch.iterdir()) == [], "nothing is left of a check"
        return run


def forge(ids: list[str]) -> str:
    """Code that prints reports of every form that was ever right, and ends the process happily."""
    return (
        "import json, os\n"
        f"report = json.dumps({{'exit_code': 0, 'collected': {ids}, 'passed': {ids}, 'failed': []}})\n"
        "for line in ['harness-reporter: ' + report, 'harness-reporter:  ' + report]:\n"
        "    os.write(1, ('\\n' + line + '\\n').encode())\n"
        "os._exit(0)\n"
    )


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    home = Home(Path(tempfile.mkdtemp(prefix="ck-")))
    for folder in home.folders():
        folder.mkdir(parents=True, exist_ok=True)
    git = GitWorld(home.repos / "tiny.git")
    base = git.commit(
        {
            "service.yaml": MANIFEST, "requirements.lock": "", "requirements-dev.lock": locked(PACKAGES),
            "src/tiny/__init__.py": "", "src/tiny/__main__.py": START, "src/tiny/double.py": DOUBLE,
            "tests/conftest.py": CONFTEST, "tests/contract/test_contract.py": CONTRACT,
            "tests/contract/asking.py": ASKING, "tests/unit/test_unit.py": UNIT, "probes/cost.py": PROBE,
            "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '-p no:cacheprovider'\n",
        },
        branch="main",
    )  # fmt: skip
    repository = ServiceRepository(git.path, home.worktrees)
    checks = SandboxedChecks(
        sandbox=Sandbox(home=home, clock=SystemClock()), releases=ReleaseStore(home=home, repository=git.path),
        repository=repository, scratch=home.worktrees,
    )  # fmt: skip
    asyncio.run(checks.prepare())
    yield World(git, checks, home.worktrees, base)
    shutil.rmtree(home.root)


# --- what passes -----------------------------------------------------------------------------------------------------


def test_a_good_change_passes_and_its_tests_are_counted(world: World) -> None:
    # given a change of the code with a test of its own
    good = {"src/tiny/double.py": DOUBLE.replace("2 * int(words[1])", "int(words[1]) + int(words[1])"),
            "tests/unit/test_more.py": "def test_more():\n    pass\n"}  # fmt: skip

    run = world.check(good)

    assert (run.passed, run.reason, run.exit_code) == (True, "", 0), run.output
    assert run.tests_passed == 3 + 1 + 1
    assert (run.name, run.wait.kind) == ("tests", "check") and run.wait.closed_at > run.wait.opened_at
    assert "3 passed" in run.output and "2 passed" in run.output


def test_a_change_without_tests_of_its_own_passes_by_the_protected_ones(world: World) -> None:
    run = world.check({"tests/unit/test_unit.py": None})

    assert (run.passed, run.exit_code, run.tests_passed) == (True, 0, 3), run.reason


def test_a_check_that_is_no_pytest_counts_by_its_exit_code(world: World) -> None:
    good, bad = world.check({}, "compiles"), world.check({"src/tiny/double.py": "raise SystemExit(7)"}, "compiles")

    assert (good.passed, good.tests_passed, good.output) == (True, None, "4\n")
    assert (bad.passed, bad.exit_code, bad.reason) == (False, 7, "exit code 7")


def test_a_check_that_is_not_declared_or_hides_its_pytest_is_refused(world: World) -> None:
    with pytest.raises(Invalid, match="declares no 'test', it declares tests, brief, compiles, odd"):
        world.check({}, "test")
    with pytest.raises(Invalid, match=r"pytest is started as \[python, -m, pytest, …\]"):
        world.check({}, "odd")


# --- what fails ------------------------------------------------------------------------------------------------------


def test_a_wrong_change_fails_with_the_tests_named(world: World) -> None:
    run = world.check({"src/tiny/double.py": WRONG})

    assert (run.passed, run.exit_code) == (False, 1)
    assert run.reason == f"3 protected tests did not pass, {min(IDS)} among them (exit code 1)"


def test_a_test_of_the_change_that_fails_fails_the_change(world: World) -> None:
    run = world.check({"tests/unit/test_more.py": "def test_more():\n    assert False\n"})

    assert (run.passed, run.exit_code, run.reason) == (False, 1, "exit code 1: tests/unit/test_more.py::test_more")


CONFIG = "[tool.pytest.ini_options]\naddopts = '%s'\n"
BEND = """
import pytest

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    report.outcome, report.longrepr = "passed", None
"""
EMPTY_ALL = """
def pytest_collection_modifyitems(items):
    for item in items:
        item.obj = lambda **_: None
"""
DOUBLE_IN_DISGUISE = "def ask(number):\n    return 2 * int(number)\n"
LYING_SUBPROCESS = """
import sys
class run:
    returncode, stderr = 0, ""
    def __init__(self, words, **_):
        self.stdout = str(2 * int(words[-1]))
"""

CHEATS: dict[str, dict[str, str | bytes | None]] = {
    "ends the process with 0 when it is imported": {"src/tiny/double.py": "import os\nos._exit(0)\n"},
    "prints a report and ends when it is imported": {"src/tiny/double.py": forge(IDS)},
    "deselects by addopts in pyproject.toml": {"pyproject.toml": CONFIG % "--deselect tests/contract"},
    "ignores by addopts in pytest.ini": {"pytest.ini": "[pytest]\naddopts = --ignore=tests/contract\n"},
    "ignores by addopts in tests/pytest.ini": {"tests/pytest.ini": "[pytest]\naddopts = --ignore=contract\n"},
    "only collects, by tox.ini": {"pyproject.toml": None, "tox.ini": "[pytest]\naddopts = --collect-only\n"},
    "loads a plugin by addopts": {"pyproject.toml": CONFIG % "-p bend", "src/bend.py": BEND},
    "skips everything in the root's conftest": {
        "conftest.py": "import pytest\n\ndef pytest_runtest_setup(item):\n    pytest.skip('not today')\n"
    },
    "turns every report into passed in a conftest": {"tests/conftest.py": CONFTEST + BEND},
    "empties every test in a conftest beside": {"tests/unit/conftest.py": EMPTY_ALL},
    "empties every test in a conftest above": {"tests/conftest.py": CONFTEST + EMPTY_ALL},
    "bends pytest in a test beside": {"tests/unit/test_bend.py": "import _pytest.runner\n\n"
                                      "def test_bend():\n    _pytest.runner.check_interactive_exception = None\n"
                                      "    _pytest.runner.pytest_runtest_call = lambda item: None\n"},
    "prints a report and ends in a test beside": {"tests/unit/test_forge.py": forge(IDS)},
    "ends with 0 in sitecustomize": {"src/sitecustomize.py": "import os\nos._exit(0)\n"},
    "prints a report and ends in sitecustomize": {"src/sitecustomize.py": forge(IDS)},
    "prints a report and ends in usercustomize": {"src/usercustomize.py": forge(IDS)},
    "puts its own pytest in the way": {"pytest.py": forge(IDS), "src/pytest.py": forge(IDS)},
    "puts its own reporter in the way": {"harness_pytest.py": forge(IDS), "src/harness_pytest.py": forge(IDS)},
    "takes the name of what the tests use": {"src/asking.py": DOUBLE_IN_DISGUISE, "asking.py": DOUBLE_IN_DISGUISE},
    "takes the name of a standard module": {"src/subprocess.py": LYING_SUBPROCESS, "subprocess.py": LYING_SUBPROCESS},
    "deletes the protected test": {"tests/contract/test_contract.py": None},
    "weakens the protected test": {"tests/contract/test_contract.py": "def test_it_doubles():\n    pass\n"},
    "weakens what the protected test stands on": {"tests/contract/asking.py": DOUBLE_IN_DISGUISE},
    "adds a conftest beside the protected test": {"tests/contract/conftest.py": EMPTY_ALL},
    "no longer declares the check in service.yaml": {"service.yaml": "checks: []\n"},
    "puts a file where the tests were": {
        "tests": "", "tests/conftest.py": None, "tests/contract/test_contract.py": None,
        "tests/contract/asking.py": None, "tests/unit/test_unit.py": None,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def cheated(world: World) -> dict[str, CheckRun]:
    """What became of each cheat; a few at a time, as each spends most of its time waiting."""

    async def check(cheat: str, at_once: asyncio.Semaphore) -> CheckRun:
        async with at_once:
            commit = world.change({"src/tiny/double.py": WRONG, **CHEATS[cheat]})
            return await world.checks.check("tests", commit, world.base)

    async def check_all() -> list[CheckRun]:
        at_once = asyncio.Semaphore(4)
        return await asyncio.gather(*(check(cheat, at_once) for cheat in CHEATS))

    return dict(zip(CHEATS, asyncio.run(check_all()), strict=True))


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_wrong_change_fails_though_it(cheat: str, cheated: dict[str, CheckRun]) -> None:
    run = cheated[cheat]

    assert not run.passed
    assert run.reason.startswith("3 protected tests did not pass"), run.reason
    assert "not done" not in run.reason, "it has to fail by what was seen"


def test_tests_behind_a_symlink_are_those_of_the_base(world: World) -> None:
    files: dict[str, str | bytes | None] = {"src/tiny/double.py": WRONG, "tests/contract": "../easy"}
    gone = dict.fromkeys(("tests/contract/test_contract.py", "tests/contract/asking.py"))
    easy = {"easy/test_contract.py": "import pytest\n\n@pytest.mark.parametrize('n', [1, 2, '-3'])\n"
                                     "def test_it_doubles(n):\n    pass\n"}  # fmt: skip
    commit = world.change({**gone, **files, **easy}, **{"tests/contract": "120000"})

    run = asyncio.run(world.checks.check("tests", commit, world.base))

    assert run.reason.startswith("3 protected tests did not pass")


def test_a_report_with_another_word_is_none(world: World) -> None:
    # given code that finds the orders of its sandbox, before or after they were read, and reports by their word
    spy = (
        "import glob, json, os, re\n"
        "words = set()\n"
        "for place in ['/run/tree/.order-*', '/run/source/.order-*', '/proc/[0-9]*/environ', '/proc/[0-9]*/mem']:\n"
        "    for path in glob.glob(place):\n"
        "        try:\n"
        "            text = open(path, 'rb').read(1 << 20)\n"
        "        except OSError:\n"
        "            continue\n"
        '        words |= set(re.findall(rb\'"word": "([0-9a-f]+)"\', text))\n'
        "print('words found:', words, flush=True)\n"
        f"report = json.dumps({{'exit_code': 0, 'collected': {IDS}, 'passed': {IDS}, 'failed': []}})\n"
        "for word in words:\n"
        "    print('\\n' + word.decode() + ' ' + report, flush=True)\n"
        "print(6)\n"
    )
    run = world.check({"src/tiny/double.py": f"def main(words):\n    exec({spy!r})\n"})

    # then a service, started by the protected tests as root would start them, has found none
    assert not run.passed and run.reason.startswith("3 protected tests did not pass")
    if os.geteuid() == 0:
        assert "words found: set()" in run.output


HANG = "import time\ntime.sleep(600)\n"
HOG = "def main(words):\n    hog = [bytearray(b'x' * 2**20) for _ in range(4096)]\n"
FORK_BOMB = """
def main(words):
    import os
    while True:
        try:
            os.fork()
        except OSError:
            pass
"""


def test_a_check_that_hangs_is_ended_in_time(world: World) -> None:
    run = world.check({"src/tiny/double.py": HANG}, "brief")

    assert (run.passed, run.exit_code) == (False, None)
    assert "3 protected tests did not pass" in run.reason and "not done after 3 s" in run.reason
    assert 3 <= (run.wait.closed_at - run.wait.opened_at).total_seconds() < 60


def test_a_memory_hog_and_a_fork_bomb_fail_and_leave_the_machine_alone(world: World) -> None:
    async def both() -> list[CheckRun]:
        commits = [world.change({"src/tiny/double.py": code}) for code in (HOG, FORK_BOMB)]
        return await asyncio.gather(*(world.checks.check("brief", commit, world.base) for commit in commits))

    hog, bomb = asyncio.run(both())

    assert not hog.passed and "3 protected tests did not pass" in hog.reason
    assert not bomb.passed and "3 protected tests did not pass" in bomb.reason
    assert world.check({}, "compiles").passed


def test_without_protected_tests_at_least_one_test_has_to_pass(world: World) -> None:
    bare = {"tests/contract/test_contract.py": None, "tests/contract/asking.py": None}
    base = world.change(dict(bare))
    without = world.git.commit({"tests/unit/test_unit.py": None}, onto=base)
    skipping = world.git.commit(
        {"tests/unit/test_unit.py": "import pytest\n\ndef test_it():\n    pytest.skip('not today')\n"}, onto=base
    )

    same, none, skipped = (
        asyncio.run(world.checks.check("tests", commit, base)) for commit in (base, without, skipping)
    )

    assert same.passed and same.tests_passed == 1
    assert (none.passed, none.reason) == (False, "exit code 5")
    assert (skipped.passed, skipped.reason) == (False, "no test ran")


def test_a_base_whose_tests_cannot_be_collected_is_said_to_be_at_fault(world: World) -> None:
    base = world.change({"tests/contract/test_contract.py": "import nothing_of_the_kind\n"})

    with pytest.raises(Invalid, match=f"cannot be collected on the base {base[:12]}(.|\n)*nothing_of_the_kind"):
        asyncio.run(world.checks.check("tests", base, base))


# --- probes ----------------------------------------------------------------------------------------------------------


def probe(world: World, commit: str, name: str = "cost", head: str | None = None) -> tuple[object, str]:
    run = asyncio.run(world.checks.probe(name, commit, head or world.base))
    return run.measures, run.reason


def test_a_good_tree_is_measured_by_the_last_line_of_the_probe(world: World) -> None:
    longer = world.change({"src/tiny/double.py": DOUBLE + "\n\nEND = True\n"})

    assert probe(world, world.base) == ({"steps": [5.0]}, "")
    assert probe(world, longer) == ({"steps": [8.0]}, "")


def test_a_tree_that_does_not_start_or_answers_wrongly_cannot_be_measured(world: World) -> None:
    for code, name, why in (
        ("raise SystemExit('no limits')", "cost", "ended with 1"),
        (WRONG, "cost", "ended with 1"),
        (HANG, "brief", "no answer in time"),
    ):
        measures, reason = probe(world, world.change({"src/tiny/double.py": code}), name)
        assert measures is None and why in reason


def test_the_probe_is_heads_and_never_the_commits(world: World) -> None:
    # given a commit that brings a probe of its own, and a module that the probe's imports could be taken for
    lie = "print('{\"steps\": [1]}')\n"
    commit = world.change({"probes/cost.py": lie, "json.py": lie, "sitecustomize.py": lie})
    head = world.change({"probes/cost.py": PROBE.replace('"steps": [', '"steps": [100 + ')})

    assert probe(world, commit) == ({"steps": [5.0]}, "")
    assert probe(world, commit, head=head) == ({"steps": [105.0]}, "")


def test_a_probe_that_says_nothing_of_use_measures_nothing(world: World) -> None:
    for text in ("pass", "print('{}')", "print('[1]')", 'print(\'{"steps": "fast"}\')', "print('{\"steps\": 3}')"):
        measures, reason = probe(world, world.base, head=world.change({"probes/cost.py": f"{text}\n"}))
        assert measures is None and reason.startswith("the probe printed no measures")


def test_a_probe_or_commit_that_is_not_there_is_refused(world: World) -> None:
    with pytest.raises(Invalid, match="declares no 'speed', it declares cost, brief"):
        probe(world, world.base, "speed")
    with pytest.raises(Invalid, match=r"no commit|not in"):
        probe(world, "--upload-pack=x")
    with pytest.raises(Invalid, match="is not there"):
        probe(world, world.change({"service.yaml": None}))
