"""A real Prometheus for a test: on series that were recorded before, at a port of its own. Loopback only."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.ports import free_port


def recorded(folder: Path, openmetrics: str) -> None:
    """Put series, as OpenMetrics text, into the store of the folder."""
    (folder / "stored").write_text(openmetrics)
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", folder / "stored", folder / "data"],
        check=True, capture_output=True,
    )  # fmt: skip


@contextmanager
def prometheus(folder: Path, configuration: str) -> Iterator[str]:
    """A Prometheus on the store in ``folder``; gives its URL once it is ready."""
    assert shutil.which("prometheus"), "Prometheus is needed on PATH"
    port = free_port()
    file = folder / "prometheus.yml"
    file.write_text(configuration)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        until_ready(port, process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                probe.sendall(b"GET /-/ready HTTP/1.0\r\n\r\n")
                if probe.recv(12).endswith(b"200"):
                    return
        time.sleep(0.01)
    raise AssertionError(log.read_text())
