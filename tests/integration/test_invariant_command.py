"""`harness invariant lint` and `check`: files with and without faults; what is measured, and what cannot be told."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.bootstrap import open_record
from harness.cli import app
from harness.core import events as e
from harness.core.errors import Invalid
from harness.core.ids import WATCH_STREAM
from harness.core.record import StreamWrite
from harness.journal import HARNESS, encode
from harness.settings import Settings
from harness.states import Seen, last_told, settled_since, tell
from tests.integration.prometheus_servers import prometheus

ROOT = Path(__file__).parents[2]
HEADROOM = "{name: headroom, condition: available > 20%, for: 3s, on_violation: auto_remediate}"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "var"))
    monkeypatch.delenv("HARNESS_LEDGER_URL", raising=False)
    return tmp_path / "var"


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    """The exit code, and the JSON that is printed."""
    capsys.readouterr()
    code = app(["invariant", *words, "--json"], standalone_mode=False)
    return code or 0, json.loads(capsys.readouterr().out)


def test_what_the_harness_itself_goes_by_is_fine(capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(ROOT / "invariants")
    assert typed(capsys, "lint", folder) == (0, {"file": folder, "ok": True})


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.yaml", f"invariants: [{HEADROOM.replace('available', 'avialable')}]", "no metric 'avialable'"),
        ("a.yaml", f"invariants: [{HEADROOM.replace('auto_remediate', 'page_bob')}]", "invariants[0].on_violation: "),
        ("a.yaml", f"invariants: [{HEADROOM.replace('20%', '20ms')}]", "ms"),
        ("harness.yaml", "structural: [{name: ledger_chain, for: 5s, on_violation: auto_remediate}]",
         "structural[0].on_violation: 'auto_remediate' cannot be done here: what breaks is the harness itself"),
        ("harness.yaml", "structural: [{name: ledger, for: 5s, on_violation: call_for_help}]", "structural[0].name: "),
    ],
)  # fmt: skip
def test_a_fault_is_told_by_place_and_reason(
    name: str, text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(Invalid) as refused:
        typed(capsys, "lint", str(tmp_path / name))
    assert told in str(refused.value) and refused.value.exit_code == 2


def test_what_cannot_be_told_is_not_said_to_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a ledger in which the watch has told of one of the harness's own, and a Prometheus without data
    record, now = open_record(Settings.load()), datetime.now(UTC)
    seen = Seen(kind="invariant", name="ledger_chain", service="ratelimiter", state="ok", reason="it holds")
    broken = Seen(kind="invariant", name="declared_runs", service="ratelimiter", state="violated", reason="n1 serves x")
    tell([seen, broken], {}, now, ledger=record.ledger, clock=record.clock)
    with prometheus(tmp_path, "{}") as url:
        monkeypatch.setenv("PROMETHEUS_URL", url)
        # when all are asked
        code, rows = typed(capsys, "check")
    # then the answer is no, and says what is known of each
    assert code == 1
    assert {row["invariant"]: row["holds"] for row in rows} == {
        "capacity_headroom": None, "ledger_chain": True, "declared_runs": False, "resolved_with_evidence": None,
        "releases_on_record": None, "declared_fleet": None,
    }  # fmt: skip
    (drift,) = [row for row in rows if row["invariant"] == "declared_runs"]
    assert drift["reason"] == "n1 serves x" and datetime.fromisoformat(drift["since"]) == now


@pytest.mark.parametrize(
    ("minute_began_s", "ticks", "settled"),
    [(1, {"ok": 60}, "ok"), (1, {"ok": 59, "no_data": 1}, None), (-1, {"ok": 60}, None), (1, {"no_data": 60}, None)],
    ids=["all of the minute", "part of it", "a minute that began before the change", "as it was told"],
)
def test_what_changed_too_often_to_be_told_is_known_by_the_last_minute(
    minute_began_s: int, ticks: dict[str, int], settled: str | None
) -> None:
    # given an invariant of which was told that a delivery keeps it from being known, and the heartbeat of a minute
    record, now = open_record(Settings.load()), datetime.now(UTC)
    seen = Seen(kind="invariant", name="declared_runs", service="r", state="no_data", reason="INF-7 delivers")
    tell([seen], {}, now, ledger=record.ledger, clock=record.clock)
    since = now + timedelta(seconds=minute_began_s)
    beat = e.WatchBeat(ticks=60, states={"declared_runs": ticks}, requests=None, since=since)
    new = encode("beat", beat, clock=record.clock, actor=HARNESS, correlation="watch", cause=None)
    record.ledger.append([StreamWrite(WATCH_STREAM, None, [new])])

    # then it is what it was all of a minute that began after what was told
    told = last_told(record.ledger, "invariant", "r", "declared_runs")
    assert told is not None
    found = settled_since(record.ledger, told)
    assert (found and found[0]) == settled
