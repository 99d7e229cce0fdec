"""The root conftest: which reason for not running a test is accepted, and what a soak writes down. Runs pytest in a
folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
ALLOWED = '[[skip]]\nreason = "no such device: .*"\nwhy = "an example"\n'


UNLISTED = {
    "in_a_test": "import pytest\ndef test_a(): pytest.skip('not today')\n",
    "of_a_module": "import pytest\npytest.skip('not today', allow_module_level=True)\n",
    "by_a_mark": "import pytest\n@pytest.mark.skipif(True, reason='not today')\ndef test_a(): ...\n",
    "expected": "import pytest\n@pytest.mark.xfail(reason='not today')\ndef test_a(): assert False\n",
}


def session(folder: Path, tests: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """One pytest session over these test files, under the repository's conftest and an allow-list of its own."""
    (folder / "tests").mkdir(exist_ok=True)
    (folder / "tests/skips.toml").write_text(ALLOWED)
    (folder / "pytest.ini").write_text("[pytest]\n")
    for name, text in tests.items():
        (folder / f"test_{name}.py").write_text(text)
    shutil.copy(ROOT / "conftest.py", folder)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    alone = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # these tests need no plugin but the conftest
    return subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True, timeout=60)


def test_a_listed_reason_passes(tmp_path: Path) -> None:
    done = session(tmp_path, {"gpu": "import pytest\ndef test_a(): pytest.skip('no such device: gpu0')\n"})

    assert done.returncode == 0, done.stdout


def test_any_other_reason_fails_the_session_and_is_named(tmp_path: Path) -> None:
    done = session(tmp_path, {"ran": "def test_b(): pass\n", **UNLISTED})

    named = done.stdout.split("does not list")[1]
    assert done.returncode == 1, done.stdout
    assert [name for name in UNLISTED if f"test_{name}.py" not in named] == []


def test_a_second_run_at_one_commit_leaves_the_first_ones_evidence(tmp_path: Path) -> None:
    session(tmp_path, {"first": "def test_a(record_property): record_property('kills', 50)\n"}, "--evidence=out")
    session(tmp_path, {"second": "def test_b(): assert False\n"}, "--evidence=out", "test_second.py")

    written = [
        json.loads(path.read_text()) for path in sorted(tmp_path.glob("out/*.json"), key=lambda path: len(path.name))
    ]
    assert [(run["exit_status"], [test["outcome"] for test in run["tests"]]) for run in written] == [
        (0, ["passed"]), (1, ["failed"]),
    ]  # fmt: skip
    assert written[0]["tests"][0]["numbers"] == {"kills": 50}


def test_every_reason_of_the_real_list_is_explained_and_given_by_a_test() -> None:
    tests = "\n".join(
        path.read_text() for path in [*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("services/*/tests/**/test_*.py")]
    )
    listed = tomllib.loads((ROOT / "tests/skips.toml").read_text())["skip"]

    assert [entry["reason"] for entry in listed if not entry["why"]] == []
    assert [entry["reason"] for entry in listed if entry["reason"].removesuffix(".*") not in tests] == []
