"""What a process logs, and the traceback that it may end with: without secrets. Decides nothing; touches the streams.

Lines are cleaned once they are whole, whatever they were made of: a value, a message, a line of a traceback.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

import structlog

from harness.core.plain_text import safe
from harness.core.redaction import Secrets


def log_without(secrets: Secrets) -> None:
    """From now on this process logs so: through structlog, through ``logging`` and by what it fails with."""
    rendered = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)

    def clean(text: str) -> str:
        return safe(secrets.taken_from_text(text)[0])

    def render(logger: Any, name: str, entry: MutableMapping[str, Any]) -> str:
        return clean(rendered(logger, name, entry))

    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return clean(super().format(record))

    def fails(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        sys.stderr.write(clean("".join(traceback.format_exception(kind, error, trace))))

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars, structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(), structlog.dev.set_exc_info,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False), render,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )  # fmt: skip
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    sys.excepthook = fails
    threading.excepthook = lambda failed: fails(failed.exc_type, failed.exc_value, failed.exc_traceback)
    if secrets.not_searched:
        structlog.get_logger().warning("too short or too common to be taken out", variables=list(secrets.not_searched))
