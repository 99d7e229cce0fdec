"""What an incident's file promises of its end. Touches nothing."""

from __future__ import annotations

import pytest

from harness.cli.incident_file import Ended, Expected


@pytest.mark.parametrize(
    ("outcome", "signal", "fits"),
    [
        ("resolved", "slo:latency", True),
        ("escalated", "slo:latency", False),
        ("resolved", "slo:availability", False),
        ("resolved", None, False),
    ],
)
def test_an_incident_ends_as_expected_only_by_the_ticket_that_it_speaks_of(
    outcome: str, signal: str | None, fits: bool
) -> None:
    expected = Expected.parse(
        {"outcome": "resolved", "ticket": {"type": "incident", "signal": "slo:latency"}}, "expects"
    )

    assert expected.fits([Ended(outcome, "incident", signal)]) is fits


@pytest.mark.parametrize(
    ("ended", "fits"),
    [
        ([("resolved", "slo:latency"), ("resolved", "invariant:capacity_headroom")], True),
        ([("resolved", "invariant:capacity_headroom"), ("resolved", "slo:latency")], True),
        ([("resolved", "slo:latency"), ("escalated", "invariant:capacity_headroom")], False),
        ([("resolved", "slo:latency"), ("resolved", "slo:latency")], False),
        ([("resolved", "slo:latency")], False),
        ([], False),
        # one that the file does not speak of
        ([("resolved", "slo:latency"), ("escalated", "slo:availability"), ("resolved", "invariant:capacity_headroom")],
         True),
        # one that was raised again, and is with a person now
        ([("resolved", "slo:latency"), ("resolved", "invariant:capacity_headroom"), ("escalated", "slo:latency")],
         False),
    ],
)  # fmt: skip
def test_of_several_tickets_every_one_that_the_incident_speaks_of_has_to_end_so(
    ended: list[tuple[str, str]], fits: bool
) -> None:
    tickets = [{"type": "incident", "signal": signal} for signal in ("slo:latency", "invariant:capacity_headroom")]
    expected = Expected.parse({"outcome": "resolved", "tickets": tickets}, "expects")

    assert expected.fits([Ended(outcome, "incident", signal) for outcome, signal in ended]) is fits
