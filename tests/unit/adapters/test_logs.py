"""What a process logs, and what it fails with, holds no secret. Every stream of a real process is read."""

from __future__ import annotations

import subprocess
import sys

SECRET = 's3cret "of" a/log'
PROCESS = f"""
import logging, threading, structlog
from harness.adapters.logs import log_without
from harness.core.redaction import Secrets
SECRET = {SECRET!r}
log_without(Secrets.of({{"A_LOG_TOKEN": SECRET, "B_TOKEN": "short"}}))
structlog.get_logger().warning("as a value", reason=f"it said {{SECRET}}", nested=[SECRET])
try:
    raise ValueError(f"deep {{SECRET}}")
except ValueError:
    structlog.get_logger().exception("with a traceback")
    logging.getLogger("somebody").warning("by logging %s", SECRET, exc_info=True)
def work():
    raise KeyError(SECRET)
thread = threading.Thread(target=work)
thread.start()
thread.join()
raise RuntimeError(f"the end, password=hunter2, {{SECRET}}")
"""


def test_no_line_and_no_traceback_of_a_process_holds_a_secret() -> None:
    done = subprocess.run([sys.executable, "-c", PROCESS], capture_output=True, text=True, check=False)

    told = done.stderr
    assert (done.returncode, done.stdout) == (1, "")  # stdout carries answers
    assert "s3cret" not in told and "hunter2" not in told
    for said in ("as a value", "with a traceback", "ValueError: deep [redacted]", "by logging [redacted]", "KeyError",
                 "RuntimeError: the end, password=[redacted]", "variables=['B_TOKEN']"):  # fmt: skip
        assert said in told, said
