"""One stack as a newcomer meets it: a quiet minute, a real incident, an oracle that can tell, and nothing left behind.

Every fixture builds on the one before, so that one stack serves all: interrupted → quiet → incident → oracle → down →
tampering.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import yaml

from scenarios import oracle
from scenarios.series import Commit, order
from tests.acceptance.documents import PHASES, Demo, LedgerVerification, Quiet, Status, Ticket, TicketRow
from tests.acceptance.homes import home_at
from tests.acceptance.newcomer import ROOT, SECRETS, Answer, Newcomer
from tests.acceptance.other_hand import INCIDENT, NODES, OtherHand
from tests.acceptance.outside import HARNESS_AUTHOR, Outside, Process, Row, repeated
from tests.acceptance.searching import assert_nowhere, lines_of, pem
from tests.webhooks import SECRET, Inbox, receiving

pytestmark = [pytest.mark.alone, pytest.mark.timeout(600)]

SEED = 2
OTHER_SEED = 7
DEMO_WITHIN_S = 540.0
SCENARIO: dict[str, Any] = yaml.safe_load(INCIDENT.read_text())
ORACLE: dict[str, Any] = SCENARIO["oracle"]
COLUMNS = {
    "position": "position + 1000000", "id": "id || 'x'", "stream": "stream || 'x'", "version": "version + 1000000",
    "type": "type || 'x'", "schema_version": "schema_version + 1", "data": "replace(data, '{', '{\"x\":1,')",
    "actor": "actor || 'x'", "causation_id": "coalesce(causation_id, '') || 'x'",
    "correlation_id": "coalesce(correlation_id, '') || 'x'", "occurred_at_us": "occurred_at_us + 1",
    "recorded_at_us": "recorded_at_us + 1", "prev_hash": "upper(prev_hash) || 'x'", "hash": "upper(hash) || 'x'",
}  # fmt: skip
"""Every column of an event, with another value for it that its table takes."""


# --- the story of one home -----------------------------------------------------------------------------------------


def changes_of_the_checkout() -> str:
    return subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture(scope="module")
def inbox() -> Iterator[Inbox]:
    """Where people are told."""
    with receiving() as inbox:
        yield inbox


@pytest.fixture(scope="module")
def settings(inbox: Inbox) -> dict[str, str]:
    """Where that is."""
    return {"HARNESS_WEBHOOK_URL": inbox.url, "HARNESS_WEBHOOK_SECRET": SECRET}


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]) -> Iterator[Newcomer]:
    """Somebody with a new home, who wants to be told."""
    with home_at(tmp_path_factory.mktemp("home"), settings) as newcomer:
        yield newcomer


@pytest.fixture(scope="module")
def checkout_before() -> str:
    return changes_of_the_checkout()


@pytest.fixture(scope="module")
def interrupted(newcomer: Newcomer, checkout_before: str) -> Answer:
    """`harness demo` on a new home, interrupted as by Ctrl-C once the stack is up."""
    demo = newcomer.starts("demo", "--headless")
    assert demo.stdout is not None
    told = ""
    while "waiting for" not in told:
        line = demo.stdout.readline()
        assert line, demo.communicate()[1]
        told += line
    demo.send_signal(signal.SIGINT)
    stdout, stderr = demo.communicate(timeout=30)
    return Answer(demo.returncode, told + stdout, stderr)


@pytest.fixture(scope="module")
def quiet(newcomer: Newcomer, interrupted: Answer) -> Answer:
    """`harness demo --incident quiet`, on the stack that the interrupted one left."""
    return newcomer.types("demo", "--incident", "quiet", "--headless", "--json", "--keep", timeout_s=DEMO_WITHIN_S)


@pytest.fixture(scope="module")
def tickets_of_the_quiet(newcomer: Newcomer, quiet: Answer) -> Any:
    return newcomer.types("ticket", "list", "--json").document


@pytest.fixture(scope="module")
def incident(newcomer: Newcomer, tickets_of_the_quiet: Any) -> Answer:
    """`harness demo`, as it is called by somebody who knows no option but the seed."""
    return newcomer.types("demo", "--headless", "--json", "--keep", "--seed", str(SEED), timeout_s=DEMO_WITHIN_S)


@pytest.fixture(scope="module")
def demo(incident: Answer) -> Demo:
    assert incident.code == 0, incident.stderr[-3000:]
    return Demo.model_validate(incident.document)


@pytest.fixture(scope="module")
def history(demo: Demo, outside: Outside) -> list[Row]:
    """The ticket's events."""
    return [row for row in outside.rows() if row.stream == f"ticket-{demo.ticket}"]


@pytest.fixture(scope="module")
def served(demo: Demo, outside: Outside) -> dict[str, Any]:
    """Who serves after the incident, by three accounts: what users are told, what was started, what nodes report."""
    return {
        "answers": outside.who_answers(),
        "started": [start for start in outside.starts() if start.slot == "stable"][-len(NODES) :],
        "reports": OtherHand(outside).reports(),
    }


@pytest.fixture(scope="module")
def verdicts(served: dict[str, Any], outside: Outside) -> dict[str, list[oracle.OracleReading]]:
    """What the oracle sees before a fault, with it, and after the reference fix, while the harness can repair nothing.

    The worker is stopped, not ended: its supervisor would start another one.
    """
    worker = int((outside.home / "run" / "worker.pid").read_text().split()[0])
    hand = OtherHand(outside)
    os.kill(worker, signal.SIGSTOP)
    before = asked(outside)
    release = hand.installs_the_fault(OTHER_SEED)
    during = asked(outside)
    culprits = [commit.id for commit in outside.commits(release) if commit.subject == subject(fault())]
    hand.takes_back(culprits[-1])
    return {"before": before, "during": during, "after": asked(outside)}


@pytest.fixture(scope="module")
def down(newcomer: Newcomer, outside: Outside, verdicts: object) -> tuple[set[Process], Answer]:
    """What ran, and how `harness down` ended it."""
    running = outside.processes()
    return running, newcomer.types("down")


def asked(outside: Outside) -> list[oracle.OracleReading]:
    """Readings until one is healthy, three at most: a stall of the machine is seen once, a fault every time."""
    readings: list[oracle.OracleReading] = []
    while len(readings) < 3 and not (readings and healthy(readings[-1])):
        readings.append(
            oracle.measure(outside.url("envoy_in"), ORACLE["requests"], ORACLE["slow_ms"], rate_per_s=100.0)
        )
    return readings


def healthy(reading: oracle.OracleReading) -> bool:
    return oracle.healthy(reading, oracle.Thresholds(slow_share=ORACLE["healthy_slow_share_below"]))[0]


def fault() -> Commit:
    series: list[Commit] = SCENARIO["fault"]["series"]
    [found] = [commit for commit in series if commit["role"] == "fault"]
    return found


def subject(commit: Commit) -> str:
    return commit["message"].splitlines()[0]


# --- second thoughts -----------------------------------------------------------------------------------------------


def test_an_interrupted_demo_tells_how_to_go_on(interrupted: Answer) -> None:
    assert interrupted.code == 130
    assert "Traceback" not in interrupted.stderr
    told = interrupted.stdout + interrupted.stderr
    assert "interrupted" in told and "harness ticket list" in told and "harness down" in told


# --- nothing is wrong ----------------------------------------------------------------------------------------------


def test_a_quiet_minute_raises_nothing(quiet: Answer, tickets_of_the_quiet: Any) -> None:
    assert quiet.code == 0, quiet.stderr[-3000:]
    document = Quiet.model_validate(quiet.document)

    # then it was watched and asked for often enough to tell, and no ticket was filed
    assert document.incident == "quiet"
    assert min(ticks.get("ok", 0) for ticks in document.ticks.values()) >= 50, document.ticks
    assert document.requests >= 20_000
    assert tickets_of_the_quiet == []


# --- something is --------------------------------------------------------------------------------------------------


def test_the_incident_ends_resolved_and_its_document_is_the_contracts(demo: Demo) -> None:
    assert (demo.incident, demo.outcome, demo.attempts, demo.profile) == ("latency-regression", "resolved", 1, "demo")
    assert demo.trajectory == demo.ticket
    assert [criterion.met for criterion in demo.criteria] == [True] * len(demo.criteria) != []
    assert all(criterion.before is not None and criterion.after is not None for criterion in demo.criteria)
    assert demo.fault_to_ticket_s < demo.fault_to_deploy_s < demo.fault_to_verified_s


def test_the_phases_add_up_to_the_whole(demo: Demo) -> None:
    assert tuple(phase.name for phase in demo.phases) == PHASES
    assert all(phase.waiting_s <= phase.seconds for phase in demo.phases)
    assert sum(phase.seconds for phase in demo.phases) == pytest.approx(demo.fault_to_verified_s, abs=0.05)
    overhead_s = sum(phase.seconds - phase.waiting_s for phase in demo.phases)
    assert overhead_s == pytest.approx(demo.overhead_s, abs=0.05)


def test_the_sizes_are_told_and_reach_what_the_profile_asks_for(demo: Demo) -> None:
    profile = yaml.safe_load((ROOT / "policies/profiles/demo.yaml").read_text())

    assert demo.verify.samples >= profile["verify"]["min_samples"]
    assert demo.verify.window_s == profile["verify"]["window_s"]
    assert demo.canary.per_arm >= profile["canary"]["planned_per_arm"]
    assert demo.canary.keys >= profile["canary"]["keys_per_arm"]
    assert 1 <= demo.canary.looks <= profile["canary"]["looks"] + 1
    assert demo.canary.alpha == profile["canary"]["alpha"]
    # the harm that these sizes see is told for every guard that the ticket's own metric does not stand for
    assert set(demo.canary.smallest_harm) >= {"error_share", "wrong_denial_share"}


def test_the_ticket_can_be_listed_shown_and_explained(newcomer: Newcomer, demo: Demo, history: list[Row]) -> None:
    listed = [TicketRow.model_validate(row) for row in newcomer.types("ticket", "list", "--json").document]
    shown = Ticket.model_validate(newcomer.types("ticket", "show", demo.ticket, "--json").document)
    explained = newcomer.types("ticket", "explain", demo.ticket, "--json").document

    [row] = [row for row in listed if row.id == demo.ticket]
    assert (row.state, row.type, row.closed_at is not None) == ("resolved", "incident", True)
    assert (shown.state, shown.source) == ("resolved", "slo")
    assert [criterion.met for criterion in shown.acceptance_criteria] == [True] * len(demo.criteria)
    assert [attempt.change for attempt in shown.attempts] == [demo.change.commit]
    assert shown.signals and shown.signals[0].fingerprint == row.fingerprint
    # every decision is told, at the position and with the hash that it has in the file
    decisions = {decision["position"]: decision for decision in explained["decisions"]}
    for event in ("TicketFiled", "TicketAdmitted", "ChangeProposed", "ChecksPassed", "CanaryPassed", "ReleaseDeployed",
                  "CriteriaMet"):  # fmt: skip
        [recorded] = [row for row in history if row.type == event]
        assert decisions[recorded.position]["event"] == event
        assert decisions[recorded.position]["hash"] == recorded.hash
        assert decisions[recorded.position]["why"]


def test_people_are_told_the_same_in_words(newcomer: Newcomer, demo: Demo) -> None:
    for words in (("list",), ("show", demo.ticket), ("explain", demo.ticket), ("watch", demo.ticket)):
        told = newcomer.types("ticket", *words)
        assert (told.code, demo.ticket in told.stdout) == (0, True), told


def test_the_week_and_the_export_tell_the_same_change(newcomer: Newcomer, demo: Demo, tmp_path: Path) -> None:
    week = newcomer.types("summary", "--json").document
    page = tmp_path / "week.html"
    assert newcomer.types("summary", "--format", "html", "--out", str(page)).code == 0
    exported = newcomer.types("trajectory", "export", "--out", str(tmp_path / "exported"), "--json").document
    checked = newcomer.types("trajectory", "validate", str(tmp_path / "exported"))

    [change] = [one for one in week["changes"] if one["ticket"] == demo.ticket]
    assert (change["commit"], change["outcome"]) == (demo.change.commit, "stands")
    assert change["revert"] == f"harness ticket revert {demo.ticket}"
    assert demo.change.commit[:10] in page.read_text() and "<script" not in page.read_text()
    assert f"{demo.trajectory}.json" in [Path(one["path"]).name for one in exported["files"]]
    assert (checked.code, checked.stdout.endswith(", 0 faults\n")) == (0, True), checked


def test_the_trajectory_tells_every_step_and_the_outcome_of_the_ledger(
    newcomer: Newcomer, demo: Demo, history: list[Row]
) -> None:
    trajectory = newcomer.types("trajectory", "show", demo.trajectory, "--json").document

    actions = [row for row in history if row.type == "ActionTaken"]
    assert len(trajectory["steps"]) == len(actions) > 0
    assert all(step["observation"] is not None and "body" in step["observation"] for step in trajectory["steps"])
    assert (trajectory["outcome"]["state"], trajectory["outcome"]["reward"]) == ("resolved", 1)
    [met] = [row for row in history if row.type == "CriteriaMet"]
    assert [one["met"] for one in trajectory["outcome"]["criteria"]] == [one["met"] for one in met.data["criteria"]]
    assert trajectory["provenance"]["hash"] == history[-1].hash


def test_the_ledger_holds_and_every_part_is_up(newcomer: Newcomer, demo: Demo) -> None:
    verified = newcomer.types("ledger", "verify", "--json")
    status = newcomer.types("status", "--json")

    assert (verified.code, LedgerVerification.model_validate(verified.document).ok) == (0, True)
    parts = Status.model_validate(status.document).components
    assert status.code == 0
    assert {part.name for part in parts} >= {"temporal", "prometheus", "envoy", "worker", "traffic",
                                             *(f"node-{node}" for node in NODES)}  # fmt: skip


def test_the_harness_made_one_commit_and_it_takes_back_the_fault(demo: Demo, outside: Outside) -> None:
    # given what the other hand committed, in the order that the seed draws
    series = order(SCENARIO["fault"]["series"], SEED)
    theirs = [commit for commit in outside.commits("refs/tags/shipped..refs/heads/main")
              if commit.author != HARNESS_AUTHOR]  # fmt: skip
    assert [commit.subject for commit in theirs[-len(series) :]] == [subject(commit) for commit in series]

    # then main is one commit further, by the harness, and there is no other one under any name
    [made] = [commit for commit in outside.commits("--all") if commit.author == HARNESS_AUTHOR]
    assert made.id == outside.main() == demo.change.commit
    assert outside.git("rev-parse", f"{made.id}^") == theirs[-1].id

    # and what it changes is the fault, backwards
    culprit = next(commit for commit in theirs if commit.subject == subject(fault()))
    removed, added = outside.changed_lines(f"{culprit.id}^", culprit.id)
    assert outside.changed_lines(f"{made.id}^", made.id) == (added, removed)
    assert culprit.id[:12] in made.subject


def test_all_nodes_serve_main_and_nobody_else_does(served: dict[str, Any], outside: Outside) -> None:
    tree = outside.git("rev-parse", "refs/heads/main^{tree}")

    assert {(start.node, start.tree) for start in served["started"]} == {(node, tree) for node in NODES}
    assert served["answers"] == {start.folder for start in served["started"]}
    assert [sorted(report["slots"]) for report in served["reports"]] == [["stable"]] * len(NODES)
    assert {report["slots"]["stable"]["commit"] for report in served["reports"]} == {outside.main()}


def test_no_release_was_started_twice_for_one_thing(served: dict[str, Any], outside: Outside) -> None:
    assert repeated(Counter((start.key, start.node, start.slot) for start in outside.starts())) == {}


def test_the_oracle_tells_healthy_from_faulty_and_fixed(verdicts: dict[str, list[oracle.OracleReading]]) -> None:
    assert healthy(verdicts["before"][-1]), verdicts["before"]
    assert not any(healthy(reading) for reading in verdicts["during"]), verdicts["during"]
    assert all(reading.slow_share > ORACLE["faulty_slow_share_above"] for reading in verdicts["during"])
    assert healthy(verdicts["after"][-1]), verdicts["after"]


# --- who is told ---------------------------------------------------------------------------------------------------


def test_people_were_told_of_the_ticket_once_and_in_order(
    demo: Demo, history: list[Row], inbox: Inbox, newcomer: Newcomer
) -> None:
    listed = newcomer.types("notice", "list", "--json").document
    while [row["waiting"] for row in listed] != [0]:  # the demo ends with the ticket, not with what is told of it
        listed = newcomer.types("notice", "list", "--json").document
    told = [body for _, body in inbox.taken if body["data"]["ticket"] == demo.ticket]
    assert [body["type"] for body in told] == ["ticket.filed", "change.deployed", "ticket.resolved"]
    assert [(body["data"]["position"], body["data"]["event"]) for body in told] == [
        (row.position, row.type) for row in history if row.type in ("TicketFiled", "ReleaseDeployed", "CriteriaMet")
    ]
    assert inbox.unsigned == 0
    ((sent, given_up),) = ((row["sent"], row["given_up"]) for row in listed)
    assert (sent, given_up) == (len(inbox.taken), 0)


# --- afterwards ----------------------------------------------------------------------------------------------------


def test_down_leaves_nothing_running(down: tuple[set[Process], Answer], outside: Outside) -> None:
    running, answer = down

    # given that there was a whole stack, with a release in a sandbox on every node
    assert sum("workflows.node" in process.command for process in running) >= len(NODES)
    assert sum("serve --http unix:" in process.command for process in running) >= len(NODES)

    # then nothing of it lives, whatever its environment says
    assert answer.code == 0, answer.stderr
    assert outside.processes() == set()
    assert [process for process in running if still_lives(process)] == []


def still_lives(process: Process) -> bool:
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text()
    except OSError:
        return False
    state, _, *fields = stat.rpartition(") ")[2].split()
    return state not in "ZX" and int(fields[17]) == process.started_ticks


def test_the_checkout_is_as_it_was(down: object, checkout_before: str) -> None:
    assert changes_of_the_checkout() == checkout_before


def test_down_again_is_harmless_and_the_tickets_stay(newcomer: Newcomer, down: object, demo: Demo) -> None:
    assert newcomer.types("down").code == 0
    assert demo.ticket in newcomer.types("ticket", "list").stdout


@pytest.fixture(scope="module")
def kept(down: object, outside: Outside, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger of these incidents in one file, without its triggers."""
    with closing(sqlite3.connect(outside.home / "ledger.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept = Path(shutil.copy(outside.home / "ledger.db", tmp_path_factory.mktemp("kept") / "ledger.db"))
    with closing(sqlite3.connect(kept, isolation_level=None)) as connection:
        for (trigger,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
    return kept


def test_a_ledger_that_was_tampered_with_is_told_by_its_position(kept: Path, tmp_path: Path) -> None:
    """Each column at one place of three; each at all of them: ``tests/integration/test_ledger_durability.py``."""
    # given the first event, one in the middle, and the last
    with closing(sqlite3.connect(kept)) as connection:
        (events,) = connection.execute("SELECT count(*) FROM events").fetchone()
        assert set(COLUMNS) == {name for _, name, *_ in connection.execute("PRAGMA table_info(events)")}
    place = dict(zip(COLUMNS, cycle((1, events // 2, events)), strict=False))

    # when one column of one of them is altered in a copy, each in turn
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = pool.map(
            lambda column: verified_with_another(column, place[column], kept, tmp_path / column), COLUMNS
        )

    # then the position is named every time
    found = {
        column: (answer.code, document.ok, document.first_bad_position, str(place[column]) in str(document.reason))
        for column, answer in zip(COLUMNS, answers, strict=True)
        for document in [LedgerVerification.model_validate(answer.document)]
    }
    assert found == {column: (1, False, place[column], True) for column in COLUMNS}


def verified_with_another(column: str, position: int, ledger: Path, home: Path) -> Answer:
    """What `harness ledger verify` says of a copy in which one column of one event has another value."""
    home.mkdir()
    with closing(sqlite3.connect(shutil.copy(ledger, home / "ledger.db"), isolation_level=None)) as connection:
        changed = connection.execute(f"UPDATE events SET {column} = {COLUMNS[column]} WHERE position = ?", (position,))
        assert changed.rowcount == 1
    return Newcomer(home).types("ledger", "verify", "--json")


# --- nothing that is secret ----------------------------------------------------------------------------------------


def test_what_was_planted_is_in_no_file_of_the_home(
    kept: Path, newcomer: Newcomer, outside: Outside, settings: dict[str, str]
) -> None:
    """The last of this module: it files another ticket, with a private key in its notes."""
    # given what stood in a signal, in a tool's answer and in the environment, and a key that a person files
    notes = newcomer.home.parent / "notes.json"
    criteria = [{"metric": "slow_share", "condition": "< 10%", "duration": "10s sustained"}]
    spec = {"type": "improvement", "objective": {"description": "Try the key in the notes"},
            "acceptance_criteria": criteria, "context": {"notes": f"it is\n{pem('notes')}"}}  # fmt: skip
    notes.write_text(json.dumps({"ticket": spec}))
    assert newcomer.types("ticket", "file", "--file", str(notes)).code == 0

    # then none of it is in the ledger, its log, a blob, a log, a worktree, an object of git, Temporal's or Prometheus'
    values = {**SECRETS, **settings, **lines_of(pem("notes"))}
    assert_nowhere(newcomer.home, values)
    # and the ledger says how often which was taken out
    counts = sum((Counter(row.data["found"]) for row in outside.rows() if row.type == "Redacted"), Counter())
    assert counts["HARNESS_TEST_SECRET"] >= 2 and counts["private-key"] == 1
    export = newcomer.types("trajectory", "export", "--out", str(newcomer.home.parent / "exported"), "--json")
    assert export.document["redaction"]["before_recording"] == counts
