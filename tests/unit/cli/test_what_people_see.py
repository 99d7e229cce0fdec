"""Lines for people who are tired: no word that is the code's own, nothing said twice, no wait without a reason."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.adapters.stack.home import Home
from harness.adapters.stack.report import ComponentReport, StackReport
from harness.bootstrap import open_record
from harness.cli import app
from harness.cli.render import in_words, moment
from harness.cli.stack import print_table
from harness.cli.ticket_tell import patiently
from harness.core.command import refuse_unless_open
from harness.core.errors import Forbidden, Retryable
from harness.core.lifecycle import State
from harness.settings import Settings

NOW = datetime(2026, 11, 27, 3, 5, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("HARNESS_LEDGER_URL", raising=False)
    return Settings.load().home


def typed(*words: str) -> str:
    return CliRunner().invoke(app, words).output


def test_a_part_that_ended_breaks_no_column_of_the_status(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    # given a stack whose worker was killed a week ago
    killed = ComponentReport(
        name="prometheus", state="degraded", since="2026-11-20T15:27:30+00:00", pid=1234567,
        url="http://127.0.0.1:26722/metrics", last_exit="signal SIGKILL", last_exit_at="2026-11-20T15:27:21.373+00:00",
    )  # fmt: skip

    print_table(StackReport(home="/srv/harness", components=(killed,)), NOW)
    _, heading, part, below = capsys.readouterr().out.splitlines()

    # then the part has one line with its day, and how it ended stands below
    assert part.split() == ["prometheus", "degraded", "11-20", "15:27", "1234567", "http://127.0.0.1:26722/metrics"]
    assert below == "prometheus: ended last at 11-20 15:27: signal SIGKILL"
    assert max(len(heading), len(part), len(below)) <= 80


def test_who_looks_in_the_wrong_folder_is_told_how_to_name_the_right_one(home: Home) -> None:
    error = CliRunner().invoke(app, ["ticket", "list"]).exception

    assert isinstance(error, Retryable) and str(home.ledger) in str(error) and "HARNESS_HOME" in str(error)


def test_what_was_never_judged_is_not_called_measured_now(home: Home) -> None:
    open_record(Settings.load()).ledger.close()
    typed("ticket", "file", "--objective", "quick", "--accept", "slow_share < 5%")

    assert "  slow_share < 5%: not judged (before not measured)" in typed("ticket", "show", "INF-1").splitlines()


def test_an_event_is_told_in_words() -> None:
    assert [in_words(name) for name in ("CanaryPassed", "CriteriaNotMet")] == ["canary passed", "criteria not met"]


def test_a_moment_of_another_day_has_its_date() -> None:
    assert moment("2026-11-27T02:59:01+00:00", NOW) == "02:59:01"
    assert moment("2026-11-26T15:02:03+00:00", NOW) == "11-26 15:02"


def test_what_a_resolved_ticket_changed_can_still_be_taken_back() -> None:
    with pytest.raises(Forbidden, match=r"nothing any more; .*`harness ticket revert`"):
        refuse_unless_open(State.RESOLVED, "cancel")


def test_whoever_waits_for_a_safe_point_is_told_whose(capsys: pytest.CaptureFixture[str]) -> None:
    # given one ticket that answers at once, and one that comes to its safe point only after people were told
    async def at_once() -> str:
        return "paused"

    async def late() -> str:
        while "INF-2" not in (told := capsys.readouterr().err):
            await asyncio.sleep(0.01)
        return told

    outcome = asyncio.run(asyncio.wait_for(patiently({"INF-1": at_once(), "INF-2": late()}, patience_s=0.05), 20))

    assert outcome == {"INF-1": "paused", "INF-2": "waiting for the next safe point of INF-2\n"}


def test_who_need_not_wait_reads_nothing_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    async def at_once() -> str:
        return "paused"

    assert asyncio.run(patiently({"INF-1": at_once()}, patience_s=60)) == {"INF-1": "paused"}
    assert asyncio.run(patiently({})) == {} and capsys.readouterr().err == ""
