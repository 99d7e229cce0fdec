"""How a view is drawn: as text of a fixed width, from a value, with nothing that a terminal would obey."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rich.console import Console

from harness.cli.live import screen
from harness.core import events as e
from harness.core.lifecycle import Life, State
from harness.core.view import CanaryView, Firing, Line, Serving, Stop, View

BEGAN = datetime(2026, 11, 26, 17, 0, 10, tzinfo=UTC)
BLOB = "sha256:" + "0" * 64
OLD, NEW = "2123d01cef" + "0" * 30, "614b006062" + "0" * 30
FILED = e.TicketFiled(
    ticket_id="INF-1", type="incident", service="ratelimiter", priority="P1", source="slo", spec=BLOB,
    signal="slo:latency", signal_began_at=BEGAN,
)  # fmt: skip


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def counts(look: int) -> tuple[e.ArmCount, ...]:
    return (
        e.ArmCount(
            metric="error_share", canary_bad=0, canary_total=look * 90, baseline_bad=0, baseline_total=look * 95
        ),
        e.ArmCount(
            metric="slow_share", canary_bad=0, canary_total=look * 90, baseline_bad=look * 95, baseline_total=look * 95
        ),
    )


HISTORY: tuple[tuple[datetime, e.Event], ...] = (
    (at(9.4), FILED),
    (at(9.6), e.TicketAdmitted(policy="p", criteria=(), sick=(), attempts_allowed=3)),
    (at(9.7), e.AttemptStarted(attempt=1, agent="runbook", runbook="slow", base=OLD)),
    (at(19.5), e.ChangeProposed(attempt=1, kind="code", commit=NEW, base=OLD, branch="b", diff=BLOB, summary=BLOB)),
    (at(19.6), e.LockAcquired(service="ratelimiter", token=1)),
    (at(27.0), e.ChecksPassed(attempt=1, onto=OLD, commit=NEW, tree="t", outcomes=(), waits=())),
)
CANARYING = View(
    ticket_id="INF-1", filed=FILED, title="Bring the latency SLO of ratelimiter back to its objective of 90%",
    began_at=BEGAN, life=Life(State.CANARYING, attempt=1), history=HISTORY,
    fires=(Firing("f", "latency", "SLO latency burns 3.32x over 12s and 10x over 3s, more than 2.5x", at(9.4)),),
    nodes=tuple((name, Serving(OLD, "external")) for name in ("n1", "n2", "n3")),
    canary=CanaryView(NEW, OLD, "n1", 600, share=0.2, look=3, counts=counts(3), decision="continue"),
    lines=(
        Line(at(27.0), 43, "TEST passed: tests passed in 7.2 s, 83 tests"),
        Line(at(31.2), 48, "  look 3: slow_share 0/270 v 285/285 → continue"),
    ),
)  # fmt: skip


def drawn(view: View, width: int, now: datetime, story_lines: int = 8) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None, force_terminal=True)
    with console.capture() as captured:
        console.print(screen(view, now, width, story_lines))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def test_a_canary_under_way_at_100_columns() -> None:
    assert drawn(CANARYING, 100, at(31.5)) == SNAPSHOT.strip("\n")


def test_the_seconds_of_the_phase_under_way_go_on_between_events() -> None:
    assert "● canary 4.5 s" in drawn(CANARYING, 100, at(31.5))
    assert "● canary 9.5 s" in drawn(CANARYING, 100, at(36.5))
    assert "36.5 s since it began" in drawn(CANARYING, 100, at(36.5))


def test_a_narrow_terminal_shows_everything_below_each_other_within_its_width() -> None:
    text = drawn(CANARYING, 60, at(31.5))

    assert max(map(len, text.splitlines())) <= 60
    for part in ("● canary 4.5 s", "0 of 270", "285 of 285", "n3", "external", "look 3"):
        assert part in text, part


def test_a_low_terminal_keeps_the_last_lines_of_the_story() -> None:
    text = drawn(CANARYING, 100, at(31.5), story_lines=1)

    assert "look 3: slow_share" in text and "TEST passed" not in text
    assert "what happens" in drawn(CANARYING, 100, at(31.5), story_lines=0)


def test_a_ticket_that_waits_for_a_person_says_for_which_word() -> None:
    text = drawn(replace(CANARYING, life=Life(State.AWAITING_APPROVAL, attempt=1)), 100, at(31.5))

    assert "harness ticket approve INF-1, or reject" in text


def test_an_end_with_a_person_shows_what_stopped_each_attempt_and_the_question() -> None:
    view = replace(
        CANARYING, life=Life(State.ESCALATED, attempt=1), stops=(Stop(1, "canary", "harm: error_share"),),
        question="All 3 attempts are used up. What should be tried?",
    )  # fmt: skip
    text = drawn(view, 100, at(99))

    assert "✗ attempt 1 was stopped by canary: harm: error_share" in text
    assert "? a person is asked: All 3 attempts are used up." in text
    assert "escalated" in text and "27.0 s since it began" in text


def test_text_of_the_world_cannot_command_the_terminal_or_break_the_frame() -> None:
    hostile = "\x1b[2J\x1b]0;owned\x07[bold red]x[/] \u202e\nnext line " + "long " * 500
    view = replace(
        CANARYING, title=hostile, question=hostile, lines=(Line(at(1), 1, hostile),),
        fires=(Firing("f", "n", hostile, at(1)),), stops=(Stop(1, "canary", hostile),),
        nodes=(("n1", Serving(OLD, hostile)),),
    )  # fmt: skip
    text = drawn(view, 100, at(31.5))

    assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text and "[bold red]" in text
    assert max(map(len, text.splitlines())) <= 100


def test_before_a_ticket_there_is_a_view_too() -> None:
    text = drawn(View(), 100, at(0))

    assert "no ticket yet" in text and "nothing burns" in text and "canary: not yet" in text


SNAPSHOT = """
╭─ INF-1 (incident): Bring the latency SLO of ratelimiter back to its objective of 90% ────────────╮
│ fault › ✓ detect 9.4 s › ✓ admit 0.2 s › ✓ agent works 9.9 s › ✓ test 7.5 s › ● canary 4.5 s     │
│  › deploy › verify › resolved                                                                    │
│                                                                                                  │
│ ▲ SLO latency burns 3.32x over 12s and 10x over 3s, more than 2.5x                               │
│                                                                                                  │
│ canary on n1: look 3, each arm has 20% of the users       nodes  serve                brought by │
│ bad requests  with change  without     verdict            n1     2123d01cef + canary  external   │
│ error_share   0 of 270     0 of 285    not yet            n2     2123d01cef           external   │
│ slow_share    0 of 270     285 of 285  not yet            n3     2123d01cef           external   │
│                                                                                                  │
│ what happens                                                                                     │
│ 17:00:37  TEST passed: tests passed in 7.2 s, 83 tests                                           │
│ 17:00:41  look 3: slow_share 0/270 v 285/285 → continue                                          │
╰────────────────────────────────────────────────────────────────────────── 31.5 s since it began ─╯
"""
