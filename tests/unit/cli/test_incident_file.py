"""What an incident's file promises of its end. Touches nothing."""

from __future__ import annotations

import pytest

from harness.cli.incident_file import Expected


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

    assert expected.fits(outcome, "incident", signal) is fits
