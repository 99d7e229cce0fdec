"""A real Alertmanager and a real `harness serve`, each a process, in folders of a test. Loopback only."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml

from harness.adapters.clock import SystemClock
from harness.core.record import Recorded
from harness.ledger.store import Ledger
from tests.integration.ports import free_port

ROOT = Path(__file__).parents[2]
WITHIN_S = 60
T = TypeVar("T")


def until(found: Callable[[], T], what: str) -> T:
    """What ``found`` gives once it gives something."""
    deadline = time.monotonic() + WITHIN_S
    while not (value := found()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return value


class Serving:
    """`harness serve` on one port of one home, killed and started again as a test likes. ``ledger_url``: as
    HARNESS_LEDGER_URL, where the ledger is not the home's own file."""

    def __init__(self, home: Path, ledger_url: str | None = None) -> None:
        self.home = home
        self._ledger: str | Path = ledger_url or home / "ledger.db"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {**os.environ, "HARNESS_HOME": str(home)}
        for name in ("HARNESS_API_TOKEN", "HARNESS_LEDGER_URL"):
            self._environment.pop(name, None)
        if ledger_url is not None:
            self._environment["HARNESS_LEDGER_URL"] = ledger_url
        self.process: subprocess.Popen[str] | None = None
        self.said = ""

    def start(self) -> None:
        """Returns once it answers."""
        command = [sys.executable, "-m", "harness.cli", "serve", "--port", str(self.port)]
        with (self.home.with_suffix(".log")).open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT, env=self._environment
            )
        until(self._answers, "harness serve does not answer")

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.home.with_suffix(".log").read_text()
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self, how: int = signal.SIGKILL) -> None:
        """End it; what it printed is in ``said``."""
        if self.process is None:
            return
        self.process.send_signal(how)
        out, _ = self.process.communicate(timeout=30)
        self.said += out
        self.process = None

    @property
    def token(self) -> str:
        return (self.home / "api-token").read_text().strip()

    def get(self, path: str) -> Any:
        return self.asked("GET", path).json()

    def asked(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.token}"}
        return httpx.request(method, f"{self.url}{path}", headers=headers, trust_env=False, timeout=30, **more)

    def rows(self) -> list[Recorded]:
        """All that is recorded."""
        ledger = Ledger.open(self._ledger, now=SystemClock().now)
        try:
            return ledger.read_all(limit=10_000)
        finally:
            ledger.close()

    def tickets(self) -> dict[str, str]:
        """Signal → its ticket: its own, or that of another with which it began."""
        told = [row for row in self.rows() if row.type in ("TicketFiled", "SignalGrouped")]
        return {row.data["signal"]: row.data["ticket_id"] for row in told}

    def counts(self) -> Counter[str]:
        return Counter(row.type for row in self.rows())


@contextmanager
def serving(folder: Path, ledger_url: str | None = None) -> Iterator[Serving]:
    """A server that answers, ended with the block."""
    server = Serving(folder / "home", ledger_url)
    server.start()
    try:
        yield server
    finally:
        server.kill(signal.SIGTERM)


class Alertmanager:
    """One that tells ``server``, as the page on it says and faster."""

    def __init__(self, url: str) -> None:
        self.url = url

    def fire(self, *labels: dict[str, str]) -> None:
        """These begin to fire, or go on."""
        self._post([{"labels": one, "annotations": {"summary": "it is slow"}} for one in labels])

    def end(self, *labels: dict[str, str]) -> None:
        """These are over."""
        now = datetime.now(UTC).isoformat()
        self._post([{"labels": one, "endsAt": now} for one in labels])

    def _post(self, alerts: list[dict[str, Any]]) -> None:
        answer = httpx.post(f"{self.url}/api/v2/alerts", content=json.dumps(alerts), trust_env=False,
                            headers={"content-type": "application/json"})  # fmt: skip
        answer.raise_for_status()

    def failed(self) -> float:
        """Requests to a webhook so far that were not taken."""
        text = httpx.get(f"{self.url}/metrics", trust_env=False).text
        name = 'alertmanager_notification_requests_failed_total{integration="webhook"}'
        return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(name)))


def configuration(page: Path) -> dict[str, Any]:
    """The one that a page tells its readers to use."""
    block = page.read_text().split("```yaml\n")[1].split("```")[0]
    document: dict[str, Any] = yaml.safe_load(block)
    return document


@contextmanager
def alertmanager(folder: Path, server: Serving) -> Iterator[Alertmanager]:
    """Ready when the block begins."""
    document = configuration(ROOT / "docs" / "api.md")
    document["route"] |= {"group_wait": "50ms", "group_interval": "400ms", "repeat_interval": "1s"}
    document["route"]["routes"] = [{"receiver": "few", "matchers": ["crowd = yes"]}]
    (webhook,) = document["receivers"][0]["webhook_configs"]
    webhook["url"] = f"{server.url}/api/v1/signals/alertmanager"
    webhook["http_config"]["authorization"]["credentials_file"] = str(server.home / "api-token")
    document["receivers"].append({"name": "few", "webhook_configs": [{**webhook, "max_alerts": 1}]})
    file = folder / "alertmanager.yml"
    file.write_text(yaml.safe_dump(document))
    port = free_port()
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    assert program, "no Alertmanager is on PATH; `make test` installs the package prometheus-alertmanager"
    with (folder / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program, f"--config.file={file}", f"--storage.path={folder / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert process.poll() is None, (folder / "alertmanager.log").read_text()
        try:
            return httpx.get(f"{url}/-/ready", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    try:
        until(ready, "Alertmanager does not answer")
        yield Alertmanager(url)
    finally:
        process.terminate()
        process.wait(timeout=30)
