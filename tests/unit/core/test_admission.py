"""Which tickets can be worked on, and what is said of the others. Touches nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness.adapters.declarations import load_manifest, load_windows
from harness.bootstrap import CHECKOUT, read_rules
from harness.core.admission import failing_rules, without_data
from harness.core.errors import Invalid
from harness.core.events import FrozenCriterion, Measurement
from harness.core.parts import failing_parts
from harness.core.slo import parse_slos, with_objectives
from harness.core.ticket_spec import TicketSpec
from harness.core.units import choices

MANIFEST = load_manifest(CHECKOUT / "services" / "ratelimiter" / "service.yaml")
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def spec(**fields: Any) -> TicketSpec:
    criteria = [{"metric": "slow_share", "condition": "< 5%"}]
    given = {"type": "improvement", "objective": {"description": "x"}, "acceptance_criteria": criteria, **fields}
    return TicketSpec.read({"ticket": given}, "ticket.yaml", service="ratelimiter")


def test_a_ticket_that_can_be_measured_breaks_no_rule() -> None:
    assert failing_rules(spec(), MANIFEST, NOW) == ()


def test_demand_may_be_asked_for_by_value() -> None:
    criteria = [{"metric": "request_rate", "condition": "> 100rps"}]

    assert failing_rules(spec(acceptance_criteria=criteria), MANIFEST, NOW) == ()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"service": "other"}, "service: `other` is not registered; registered: ratelimiter"),
        ({"acceptance_criteria": [{"metric": "slow_shares", "condition": "< 5%"}]},
         f"acceptance_criteria[0].metric: `slow_shares` is not declared by ratelimiter; "
         f"{choices('slow_shares', MANIFEST.metrics)}"),
        ({"acceptance_criteria": [{"metric": "slow_share", "condition": "< 5ms"}]},
         "acceptance_criteria[0]: '5ms' cannot be compared with a metric in %; units: %"),
        ({"acceptance_criteria": [{"metric": "slow_share", "condition": "low"}]}, "acceptance_criteria[0].condition: "),
        ({"acceptance_criteria": [{"metric": "slow_share", "condition": "< 5%", "duration": "long"}]},
         "acceptance_criteria[0].duration: "),
        ({"acceptance_criteria": [{"metric": "slow_share", "condition": "< 5%", "duration": "for 31d"}]},
         "acceptance_criteria[0].duration: 'for 31d' is longer than measurements are kept; at most 30d"),
        ({"acceptance_criteria": [{"metric": "slow_share", "condition": "< 5%", "duration": "1e250d"}]},
         "acceptance_criteria[0].duration: "),
        ({"acceptance_criteria": [{"metric": "request_rate", "condition": "no regression"}]},
         "acceptance_criteria[0].condition: `request_rate` is demand"),
        ({"change": "abcdef", "reverts": "INF-1"}, "change: a ticket has `change` or `reverts`, not both"),
    ],
)  # fmt: skip
def test_a_rule_that_is_broken_is_told_with_its_place(fields: dict[str, Any], said: str) -> None:
    (reason,) = failing_rules(spec(**fields), MANIFEST, NOW)
    assert reason.startswith(said)


def test_an_objective_that_counts_for_itself_is_a_metric_and_one_that_is_misspelt_is_told_the_nearest() -> None:
    slos = parse_slos({"slos": [{
        "name": "check-out", "target": "99.9%", "window": "demo", "burn_rate_alert": "2x",
        "indicator": {"ratio": {"bad": "e", "total": "t"}},
    }]}, "f", load_windows(CHECKOUT / "slos/windows"))  # fmt: skip
    catalog = with_objectives(MANIFEST, slos)
    wanted = {"metric": "error_ratio(check-out)", "condition": "< 0.1%", "duration": "1h sustained"}

    assert failing_rules(spec(acceptance_criteria=[wanted]), catalog, NOW) == ()
    (reason,) = failing_rules(spec(acceptance_criteria=[{**wanted, "metric": "error_ratio(checkout)"}]), catalog, NOW)
    assert "`error_ratio(checkout)` is not declared" in reason and "nearest: error_ratio(check-out)" in reason
    (reason,) = failing_rules(spec(acceptance_criteria=[{**wanted, "condition": "< 5ms"}]), catalog, NOW)
    assert "'5ms' cannot be compared with a metric in %" in reason


def test_both_fields_of_a_criterion_that_are_wrong_are_told_at_once() -> None:
    wrong = {"metric": "slow_share", "condition": "under 5%", "duration": "1 hour"}
    condition, duration = failing_rules(spec(acceptance_criteria=[wrong]), MANIFEST, NOW)
    assert condition.startswith("acceptance_criteria[0].condition: ") and condition.endswith("form: `< 5%`")
    assert duration.startswith("acceptance_criteria[0].duration: ") and duration.endswith("form: `1h`")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"constraints": ["deadline 2026-03-02T09:00Z"]}, "constraints: the deadline 2026-03-02T09:00+00:00 is over"),
        ({"constraints": ["no changes 00:00-24:00 Mon-Sun UTC"]}, "constraints: constraint 'no changes 00:00-24:00"),
    ],
)
def test_constraints_that_leave_no_time_are_no_ticket(fields: dict[str, Any], said: str) -> None:
    (reason,) = failing_rules(spec(**fields), MANIFEST, NOW)
    assert reason.startswith(said)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"constrains": []}, "reverts; nearest: constraints"),
        ({"constraints": ["be nice"]}, "ticket: constraints[0]: constraint 'be nice' is not understood"),
        ({"id": "inf 1"}, "ticket: id: "),
        ({"budget": {"wall_clock": "soon"}}, "ticket: budget.wall_clock: "),
        ({"budget": {"stepz": 3}}, "ticket: budget.stepz: unknown key"),
        ({"labels": {"colour": "red"}}, "ticket: labels.colour: unknown key"),
    ],
)
def test_a_file_that_does_not_fit_the_form_is_refused_with_the_place(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid) as refused:
        spec(**fields)
    assert said in str(refused.value)


def test_what_was_written_is_kept_whole() -> None:
    written = spec(
        id="INF-4521", constraints=["requires approval"], budget={"usd": 2.0, "steps": 60, "wall_clock": "2h"},
        labels={"team": "edge"}, context={"links": ["https://example.org"], "notes": "n"},
    )  # fmt: skip
    assert TicketSpec.read(written.document(), "again") == written
    assert written.budget.most_steps == 60 and written.budget.wall_clock_s == 7200


def test_everything_that_is_wrong_with_a_file_is_told_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        spec(id="inf 1", type="wish", objectives=1, labels={"colour": "red"}, constraints=["be quick"], prio="P1")
    places = [line.split(": ")[2] for line in str(refused.value).splitlines()]
    assert sorted(places) == ["constraints[0]", "id", "labels.colour", "objectives", "prio", "type"]


def frozen(condition: str, value: float | None, samples: int | None) -> FrozenCriterion:
    seen = Measurement(
        metric="slow_share", query="q", window_from=NOW, window_to=NOW + timedelta(seconds=30), value=value,
        samples=samples,
    )  # fmt: skip
    return FrozenCriterion(metric="slow_share", condition=condition, duration="10s", baseline=seen)


@pytest.mark.parametrize(
    ("condition", "before", "now", "missing"),
    [
        ("< 5%", (0.01, 900), (None, None), False),
        ("< 5%", (None, None), (0.01, 900), False),
        ("< 5%", (None, None), (None, 3), False),  # too few to judge by, and it is measured
        ("< 5%", (None, None), (None, None), True),
        ("< 5%", (None, 0), (None, 0), True),
        ("no regression", (0.01, 900), (None, None), False),
        ("no regression", (None, None), (0.01, 900), True),
    ],
)
def test_what_was_measured_before_or_now_has_data_and_what_compares_needs_a_before(
    condition: str, before: tuple[float | None, int | None], now: tuple[float | None, int | None], missing: bool
) -> None:
    recent = frozen(condition, *now).baseline
    assert recent is not None

    reasons = without_data([frozen(condition, *before)], [recent])

    assert len(reasons) == missing
    assert all("2026-03-02T09:00:00+00:00 to 2026-03-02T09:00:30+00:00" in reason for reason in reasons)


def test_a_metric_that_is_not_declared_is_allowed_where_the_ticket_says_so_and_nothing_else_is() -> None:
    criteria = [{"metric": "colour", "condition": "< 5%"}, {"metric": "slow_share", "condition": "< 5ms"}]

    (reason,) = failing_rules(spec(acceptance_criteria=criteria, allow_unmeasured=True), MANIFEST, NOW)

    assert reason.startswith("acceptance_criteria[1]: ")


def test_the_parts_of_a_ticket_that_allows_it_are_allowed_it() -> None:
    child = {"objective": {"description": "y"}, "acceptance_criteria": [{"metric": "colour", "condition": "< 5%"}]}
    splitting = read_rules().splitting

    (reason,) = failing_parts(spec(children=[child]), MANIFEST, splitting, NOW)

    assert reason.startswith("children[0].acceptance_criteria[0].metric: `colour` is not declared")
    assert not list(failing_parts(spec(children=[child], allow_unmeasured=True), MANIFEST, splitting, NOW))
