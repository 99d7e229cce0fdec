"""What an objective counts, as declared: counters, a histogram, or metrics of the manifest. Pure, touches nothing.

Whatever the form, what is counted are raw counters: good or bad events, and all.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from harness.core.declaration import Declaration, Seconds
from harness.core.errors import Invalid
from harness.core.slo_documents import promql
from harness.core.slo_documents.promql import Selectors


def _one_or_more(given: Any) -> Any:
    return [given] if isinstance(given, str) else given


def _each_once(given: tuple[str, ...]) -> tuple[str, ...]:
    if not given or "" in given:
        raise ValueError("is empty; name at least one")
    if twice := next((each for each in given if given.count(each) > 1), None):
        raise ValueError(f"{twice!r} comes twice and would be counted twice; leave one of them")
    return given


Texts = Annotated[
    tuple[str, ...],
    BeforeValidator(_one_or_more, json_schema_input_type=str | tuple[str, ...]),
    AfterValidator(_each_once),
]


class Ratio(Declaration):
    """Counter selectors: ``total`` and either ``bad`` (a list is summed) or ``good``."""

    bad: Texts | None = None
    good: str | None = None
    total: str

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.bad is None) == (self.good is None):
            raise ValueError("give either bad or good, beside total")
        return self


class Latency(Declaration):
    """A histogram in seconds: a selector of its buckets, and the bound of one of them. What was slower is bad."""

    histogram: str
    below_s: Seconds = Field(alias="below")

    @model_validator(mode="after")
    def _is_a_series(self) -> Self:
        try:
            promql.buckets(self.histogram, self.below_s)
        except Invalid as error:
            raise ValueError(f"histogram: {self.histogram!r} {error}") from None
        return self


class Indicator(Declaration):
    """What is counted: a ``ratio`` of its own, the counters of an ``error_ratio`` written in PromQL, a ``latency``, or
    ratio metrics of the manifest, their bad summed."""

    ratio: Ratio | None = None
    error_ratio: str | None = None
    latency: Latency | None = None
    metric: Texts | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if sum(given is not None for given in (self.ratio, self.error_ratio, self.latency, self.metric)) != 1:
            raise ValueError("give either ratio, error_ratio, latency or metric")
        return self

    @model_validator(mode="after")
    def _counts_events(self) -> Self:
        if self.error_ratio is not None:
            try:
                self.own_selectors()
            except (Invalid, ValueError) as error:
                raise ValueError(f"error_ratio: {error}") from None
        return self

    def own_selectors(self) -> Selectors | None:
        """What it counts; None where that are metrics of the manifest."""
        if self.ratio is not None:
            return Selectors(self.ratio.total, self.ratio.bad or (), self.ratio.good)
        if self.error_ratio is not None:
            counted = promql.counters_of(self.error_ratio)
            _each_once(counted.bad or (str(counted.good),))
            return counted
        if self.latency is not None:
            good, total = promql.buckets(self.latency.histogram, self.latency.below_s)
            return Selectors(total, good=good)
        return None
