"""What both providers' endpoints have in common: where one is, how long it may take, what its errors mean to us."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, Final

import httpx2
from pydantic import SecretStr

from harness.core.errors import HarnessError, Refused, Retryable
from harness.core.model_policy import Wire

_RETRIED: Final = frozenset({408, 409, 425, 429})
_MEANS_LATER: Final = re.compile(r"overload|rate_limit|timeout|api_error|server_error|unavailable", re.IGNORECASE)
"""Kinds of error that came within a stream, after the status 200, and pass."""
SHORTEST_KEY_CHARS: Final = 8
_SAID_CHARS: Final = 300
_NO_NAME: Final = re.compile(r"[^\w./:@+-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a model answers, under which key, within which bounds. ``base_url`` None is the provider's own."""

    provider: str
    model: str
    key: SecretStr
    base_url: str | None
    bounds: Wire

    def timeout(self) -> httpx2.Timeout:
        """No wait for a piece of the answer is longer than the stall."""
        return httpx2.Timeout(self.bounds.stall_s, connect=self.bounds.connect_s)

    def clean(self, text: str) -> str:
        """The text without the key, whoever wrote it there. What is shorter than any key is a word for an endpoint
        that wants none, and stands in other words as well."""
        key = self.key.get_secret_value()
        return text if len(key) < SHORTEST_KEY_CHARS else text.replace(key, "[key]")

    def where(self) -> str:
        """The provider with the host; what else a base URL may hold is nobody's business."""
        host = f" at {httpx2.URL(self.base_url).netloc.decode()}" if self.base_url else ""
        return f"{self.provider}{host}"

    def failure(self, status: int, said: object, headers: Mapping[str, str]) -> HarnessError:
        """What an answer that is an error means. A status of 200 is an error that came in mid-stream."""
        text = self.clean(_short(said))
        what = f"{self.where()} {'broke off' if status < 400 else f'answered {status}'}: {text}"
        later = _MEANS_LATER.search(_kind(said) or text) if status < 400 else status in _RETRIED or status >= 500
        if later:
            return Retryable(what, retry_after_s=retry_after_s(headers))
        return Refused(f"{what}; see that key, model {self.model!r} and base URL belong together")

    def incomplete(self, why: str) -> Retryable:
        """The answer ended before its end."""
        return Retryable(f"{self.where()}: {self.clean(why)}")

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """One request: over after ``call_s`` at the latest; what breaks below the SDK is told in our words.

        Errors of the SDKs pass: each adapter knows its own.
        """
        try:
            async with asyncio.timeout(self.bounds.call_s):
                yield
        except TimeoutError:
            raise self.incomplete(f"no whole answer within {self.bounds.call_s:g} s") from None
        except httpx2.TimeoutException:
            raise self.incomplete(f"nothing came for {self.bounds.stall_s:g} s") from None
        except httpx2.HTTPError as error:
            raise self.incomplete(f"the connection broke ({type(error).__name__} {error})") from None
        except ValueError as error:  # an event that is no JSON, or no UTF-8
            raise self.incomplete(f"its answer cannot be read ({type(error).__name__})") from None

    def arguments(self, given: str) -> dict[str, Any] | None:
        """A call's arguments; None for what is no JSON object, be it cut off or of another form."""
        try:
            value = json.loads(self.clean(given)) if given.strip() else {}
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def answered_by(self, name: object) -> str:
        """The name that the endpoint gives the model that answered; ours when it gives none."""
        return _NO_NAME.sub("", self.clean(name))[:100] if isinstance(name, str) and name else self.model


@cache
def certificates() -> ssl.SSLContext:
    """What TLS trusts. A tenth of a second to read, and the same for every request."""
    return httpx2.create_ssl_context()


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The wait that the server asks for, in seconds; None when it names none that can be understood."""
    given = headers.get("retry-after", "")
    try:
        if "retry-after-ms" in headers:
            return max(float(headers["retry-after-ms"]) / 1000, 0.0)
        seconds = float(given) if re.fullmatch(r"\s*\d+(\.\d*)?\s*", given) else _until(given)
    except (ValueError, TypeError):
        return None
    return max(seconds, 0.0)


def _until(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()


def _inner(said: object) -> object:
    return said.get("error", said) if isinstance(said, Mapping) else said


def _kind(said: object) -> str:
    """What kind of error the endpoint calls it; empty when it does not say."""
    error = _inner(said)
    return f"{error.get('type') or ''} {error.get('code') or ''}".strip() if isinstance(error, Mapping) else ""


def _short(said: object) -> str:
    """An error's words: kind and message of the usual form, else the beginning of whatever it is."""
    error = _inner(said)
    if isinstance(error, Mapping):
        error = f"{_kind(said)} {error.get('message') or ''}"
    text = " ".join(str(error).split())
    return text if len(text) <= _SAID_CHARS else f"{text[:_SAID_CHARS]}…"
