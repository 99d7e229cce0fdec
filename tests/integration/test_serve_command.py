"""What a person sees of `harness serve` and of its token: where it listens, what it refuses, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.alert_world import ROOT, serving


def harness(home: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HARNESS_HOME": str(home), **variables}
    for name in ("HARNESS_API_TOKEN", "HARNESS_LEDGER_URL"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "harness.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=60)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--host", "0.0.0.0"), 3, "--beyond-loopback"),
        (("--host", "example.org"), 2, "an IP address, or localhost"),
    ],
)
def test_an_address_that_lets_others_in_is_refused_unless_it_is_said(
    tmp_path: Path, words: tuple[str, ...], code: int, told: str
) -> None:
    answer = harness(tmp_path / "home", "serve", *words)

    assert answer.returncode == code
    assert told in answer.stderr and "Traceback" not in answer.stderr
    assert not (tmp_path / "home").exists()


def test_a_port_that_is_taken_is_told_with_the_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        answer = harness(tmp_path / "home", "serve", "--port", str(port))

    assert answer.returncode == 4
    assert f"127.0.0.1:{port}: Address already in use; name another by --port" in answer.stderr


def test_up_tells_the_token_once_and_no_part_of_the_stack_does(tmp_path: Path) -> None:
    # given a machine that lacks what a stack is made of, so that none is started
    home = tmp_path / "home"
    first, second = (harness(home, "up", PATH="/nowhere") for _ in range(2))

    # then the token was told before anything else, and not again
    token = (home / "api-token").read_text().strip()
    assert (first.returncode, second.returncode) == (4, 4)
    assert first.stdout.count(token) == 1 and token not in first.stderr
    assert token not in second.stdout + second.stderr
    assert (home / "api-token").stat().st_mode & 0o777 == 0o600


def test_an_interruption_ends_it_without_a_traceback(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert server.process is not None
        process = server.process
        server.kill(signal.SIGINT)

    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in (tmp_path / "home.log").read_text()
