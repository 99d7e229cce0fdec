"""Asks Prometheus: instant values, series, raw counters. Judges nothing and changes no query.

``prometheus_api_client`` underneath, with what it lacks: a timeout, the warnings of an answer, times to the millisecond
(it rounds ranges to seconds), and errors that differ. It blocks, so every question runs in a thread: all methods are
``async`` and an event loop never waits. No data is an empty answer or None; it is not an error and it is not zero.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import floor
from typing import Any
from urllib.parse import urlsplit

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.exceptions import NewConnectionError
from urllib3.util import Retry

from harness.adapters.resets import Resets, Sample, Samples, Series, either
from harness.core.errors import Broken, Invalid, Retryable
from harness.ports import CounterReading, Lost

_TIMEOUT_S = 5.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_NAME = "harness_query"
_LONG_QUERY = 4_000
_EXACT_BELOW = 2**53
"""Prometheus holds every value as a float: integers are exact below this."""


def quoted(value: str) -> str:
    """A label value as a PromQL string, quotes included, so that no value can break out of its selector."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


class PrometheusMetrics:
    """The Prometheus at ``url``; connections are kept.

    Every method raises Retryable when Prometheus is away, overloaded (5xx, after two more tries) or slower than 5 s,
    and Invalid, with Prometheus's own message, for a query that it cannot run. Times carry a zone; ``at=None`` is now.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._session = _KeepingSession()
        self._session.trust_env = urlsplit(url).hostname not in _LOOPBACK  # a proxy cannot reach our loopback
        retry = Retry(
            total=2, read=0, backoff_factor=0.1, status_forcelist=(500, 502, 503, 504), raise_on_status=False,
            allowed_methods=None,
        )  # fmt: skip
        self._client = PrometheusConnect(self._url, session=self._session, retry=retry, timeout=_TIMEOUT_S)
        self._resets = Resets(self)

    async def instant(self, query: str, at: datetime | None = None) -> Samples:
        """The samples of ``query`` at one moment, one per series; a scalar is one sample without labels."""
        time = {} if at is None else {"time": _seconds(at)}
        answer = await self._ask(query, lambda: self._client.custom_query(query, params=time))
        if answer.kind == "scalar":
            return Samples((_sample({}, answer.result),), answer.warnings)
        if answer.kind != "vector":
            raise Invalid(f"query: {query} gives a {answer.kind}; needed is one number for each series")
        return Samples(tuple(_sample(series["metric"], series["value"]) for series in answer.result), answer.warnings)

    async def series(self, query: str, start: datetime, end: datetime, step_s: float) -> Samples:
        """The samples of ``query`` from ``start`` to ``end``, both included, every ``step_s``, series by series."""
        times = {"start": _seconds(start), "end": _seconds(end)}  # replace those that the client rounds
        answer = await self._ask(
            query, lambda: self._client.custom_query_range(query, start, end, str(step_s), params=times)
        )
        return Samples(
            tuple(_sample(series["metric"], point) for series in answer.result for point in series["values"]),
            answer.warnings,
        )

    async def value(self, query: str, at: datetime | None = None) -> float | None:
        """The single value of ``query``; None when there is none or it is NaN. Invalid when there are several."""
        samples = (await self.instant(query, at)).samples
        if len(samples) > 1:
            raise Invalid(
                f"query: {query} gives {len(samples)} series where one value is needed; aggregate, as by sum()"
            )
        return samples[0].value if samples and not math.isnan(samples[0].value) else None

    async def values(self, queries: Mapping[str, str], at: datetime | None = None) -> dict[str, float | None]:
        """As ``value``, by name, in one question; each by itself where one of them can't be asked beside the others."""
        try:
            together = await self._together(queries, at) if len(queries) > 1 else None
        except Invalid:  # one of them is no vector, or cannot be run: the others are not to suffer, and it is named
            together = None
        return together or {name: await self.value(query, at) for name, query in queries.items()}

    async def _together(self, queries: Mapping[str, str], at: datetime | None) -> dict[str, float | None] | None:
        """None where one of them gives several series."""
        samples = (await self.instant(_values_query(queries), at)).samples
        found = {sample.labels[_NAME]: sample.value for sample in samples}
        if len(found) < len(samples):
            return None
        return {name: None if math.isnan(value := found.get(name, math.nan)) else value for name in queries}

    async def history(self, query: str, start: datetime, end: datetime, step_s: float) -> list[float | None]:
        """``value`` at ``start`` and every ``step_s`` from there, up to ``end``. Invalid when there are several."""
        samples = (await self.series(query, start, end, step_s)).samples
        labels = {tuple(sorted(sample.labels.items())) for sample in samples}
        if len(labels) > 1:
            raise Invalid(f"query: {query} gives {len(labels)} series where one is needed; aggregate, as by sum()")
        found = {round((sample.at - start) / timedelta(seconds=step_s)): sample.value for sample in samples}
        steps = range(floor((end - start) / timedelta(seconds=step_s)) + 1)
        return [None if math.isnan(value := found.get(step, math.nan)) else value for step in steps]

    async def counters(self, selectors: Mapping[str, str], at: datetime | None = None) -> dict[str, CounterReading]:
        """The last raw values of counters by name, in one question: ``selectors`` maps a name to a plain selector.

        Each is summed over its series, an exact integer, with the time of the oldest sample in the sum; None and None
        when no series is there or one is NaN. Raises Invalid for a value that is no whole number below 2^53.
        """
        if not selectors:
            return {}
        answer = await self.instant(_readings_query(selectors), at)
        found = {sample.labels[_NAME]: sample.value for sample in answer.samples}
        return {
            name: _reading(
                selector, found.get(f"sum {number}", math.nan), found.get(f"at {number}", math.nan), answer.warnings
            )
            for number, (name, selector) in enumerate(selectors.items())
        }

    async def lost(self, selectors: Collection[str], starts: Collection[datetime], end: datetime) -> Lost:
        """What counters had counted when they began anew or went away between each start and ``end``, which go
        forward from call to call: what was looked through once is remembered."""
        return await self._resets.lost(selectors, starts, end)

    async def raw(self, selector: str, start: datetime, end: datetime) -> tuple[Series, ...]:
        """The samples of each series as they were scraped, between the two moments, both included."""
        length_ms = math.ceil((end - start).total_seconds() * 1000)
        query, time = f"{selector}[{max(length_ms, 1)}ms]", {"time": _seconds(end)}
        answer = await self._ask(query, lambda: self._client.custom_query(query, params=time))
        return tuple(
            Series(
                {name: value for name, value in series["metric"].items() if name != "__name__"},
                tuple((float(at), float(value)) for at, value in series["values"]),
            )
            for series in answer.result
        )

    async def _ask(self, query: str, question: Callable[[], object]) -> _Answer:
        return await asyncio.to_thread(self._ask_in_thread, query, question)

    def _ask_in_thread(self, query: str, question: Callable[[], object]) -> _Answer:
        try:
            question()
        except PrometheusApiClientException as error:
            raise self._refusal(query) from error
        except (requests.RequestException, ValueError, KeyError) as error:
            reason = getattr(error.args[0] if error.args else None, "reason", None)
            absent = isinstance(reason, NewConnectionError)
            how = ": nothing can be connected to there" if absent else f" within {_TIMEOUT_S} s ({error!r})"
            raise Retryable(
                f"prometheus: {self._url} gave no answer{how}; is the stack up? `harness up` starts it"
            ) from error
        body = self._session.last_response().json()
        return _Answer(body["data"]["resultType"], body["data"]["result"], tuple(body.get("warnings", ())))

    def _refusal(self, query: str) -> Invalid | Retryable:
        response = self._session.last_response()
        try:
            reason = str(response.json()["error"])
        except (ValueError, KeyError, TypeError):
            reason = response.text[:200]
        if response.status_code in (400, 422):
            return Invalid(f"query: {query}: {reason}")
        return Retryable(f"prometheus: {self._url} answered {response.status_code} ({reason}) to {query}")


@dataclass(frozen=True, slots=True)
class _Answer:
    kind: str
    result: Any
    warnings: tuple[str, ...]


class _KeepingSession(requests.Session):
    """Keeps the last response of each thread, because the client throws all of it away but the result.

    A long question goes into the body: no proxy cuts it there, and encoding a URL of 50 kB takes 30 ms.
    """

    def __init__(self) -> None:
        super().__init__()
        self._of_thread = threading.local()

    def request(self, method: Any, url: Any, *more: Any, **options: Any) -> requests.Response:
        params = options.get("params") or {}
        if len(params.get("query", "")) > _LONG_QUERY:
            method, options = "POST", {**options, "params": None, "data": params}
        return super().request(method, url, *more, **options)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        response = super().send(request, **options)
        self._of_thread.response = response
        return response

    def last_response(self) -> requests.Response:
        response = getattr(self._of_thread, "response", None)
        if not isinstance(response, requests.Response):
            raise Broken("prometheus: asked for a response before there was one")
        return response


def _values_query(queries: Mapping[str, str]) -> str:
    """One vector that holds the series of every query, told apart by the label ``_NAME``."""
    return either([_named(f"({query}\n)", name) for name, query in queries.items()])


def _readings_query(selectors: Mapping[str, str]) -> str:
    """One vector that holds, for every selector by its number, the sum of its series and the time of the oldest sample:
    numbers, for a name in each part would make the question several times as long."""
    return either(
        [
            _named(expression, f"{reading} {number}")
            for number, selector in enumerate(selectors.values())
            for reading, expression in (("sum", f"sum({selector})"), ("at", f"min(timestamp({selector}))"))
        ]
    )


def _named(expression: str, name: str) -> str:
    replacement = quoted(name.replace("$", "$$"))  # label_replace expands $1
    return f'label_replace({expression}, "{_NAME}", {replacement}, "", "")'


def _reading(selector: str, total: float, at: float, warnings: tuple[str, ...]) -> CounterReading:
    if math.isnan(total) or math.isnan(at):
        return CounterReading(value=None, at=None, warnings=warnings)
    if not (total.is_integer() and 0 <= total < _EXACT_BELOW):
        raise Invalid(
            f"counter: {selector} is {total}, which is no whole number below 2^53; is it a counter of events?"
        )
    return CounterReading(value=int(total), at=datetime.fromtimestamp(at, UTC), warnings=warnings)


def _sample(labels: Mapping[str, str], point: tuple[float, str]) -> Sample:
    return Sample(labels, float(point[1]), datetime.fromtimestamp(point[0], UTC))


def _seconds(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise Invalid(f"time: {moment} has no zone; give it one, as in datetime.now(UTC)")
    return f"{moment.timestamp():.3f}"
