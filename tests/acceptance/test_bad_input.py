"""What a mistake costs: the contract's exit code, and a line that says what is wrong and what is allowed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from harness.adapters.clock import SystemClock
from harness.bootstrap import read_rules
from harness.core.signal import Signal
from harness.ledger.blobs import Blobs
from harness.ledger.store import Ledger
from harness.stages.file import file
from tests.acceptance.newcomer import ROOT, Answer, Newcomer

DONE, NO, INVALID, UNREACHABLE = 0, 1, 2, 4


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    """Somebody who never started anything."""
    return Newcomer(tmp_path / "home")


def make_ledger(newcomer: Newcomer) -> None:
    """An empty ledger in the newcomer's home."""
    newcomer.home.mkdir()
    Ledger.open(newcomer.home / "ledger.db", now=SystemClock().now).close()


def said(answer: Answer) -> str:
    """The one line of a refusal."""
    assert "Traceback" not in answer.stderr, answer.stderr
    [line] = answer.stderr.splitlines()
    assert line.startswith("harness: ")
    return line


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["dmeo"], ["dmeo", "demo"]),
        (["tickets", "list"], ["tickets", "ticket"]),
        (["ticket", "lst"], ["lst", "list"]),
        (["demo", "--seed", "seven"], ["--seed", "integer"]),
        (["demo", "--incidnet", "quiet"], ["--incidnet", "--incident"]),
        (["demo", "--agent", "nobody"], ["--agent", "runbook"]),
        (["ticket", "show"], ["ID"]),
    ],
)
def test_a_mistyped_command_is_invalid_and_the_nearest_is_named(
    newcomer: Newcomer, words: list[str], names: list[str]
) -> None:
    answer = newcomer.types(*words)

    assert answer.code == INVALID
    assert "Traceback" not in answer.stderr
    assert all(name in answer.stderr for name in names), answer.stderr
    assert answer.stdout == ""
    assert not newcomer.home.exists()


def test_an_unknown_incident_is_invalid_and_starts_nothing(newcomer: Newcomer) -> None:
    answer = newcomer.types("demo", "--incident", "latency-regresion")

    line = said(answer)
    assert answer.code == INVALID
    assert "latency-regresion" in line and "quiet" in line
    assert "did you mean latency-regression" in line
    assert not newcomer.home.exists()


QUIET = (ROOT / "scenarios" / "quiet.yaml").read_text()
EXAMPLE = (ROOT / "scenarios" / "latency-regression.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("- a list\n", ["document"]),
        ("id: [\n", ["is no YAML"]),
        (QUIET.replace("story:", "stroy:"), ["stroy", "nearest: story"]),
        (QUIET.replace("outcome: none", "outcome: fine"), ["expects.outcome", "'fine'", "'resolved'"]),
        (QUIET.replace("requests: 600", "requests: many"), ["oracle.requests", "'many'"]),
        (QUIET.replace("service: ratelimiter", "service: billing"), ["service", "'billing'", "ratelimiter"]),
        (EXAMPLE.replace("BACKLOG = 1024", "BACKLOG = 1"), ["found 0 times, must be once: 'BACKLOG = 1"]),
    ],
    ids=["no mapping", "no YAML", "mistyped key", "unknown outcome", "no number", "another service", "no such lines"],
)
def test_a_file_that_is_no_incident_is_invalid_and_starts_nothing(
    newcomer: Newcomer, tmp_path: Path, text: str, names: list[str]
) -> None:
    file = tmp_path / "incident.yaml"
    file.write_text(text)

    answer = newcomer.types("demo", "--incident", str(file))

    assert answer.code == INVALID
    assert "Traceback" not in answer.stderr
    assert all(name in answer.stderr for name in [str(file), *names]), answer.stderr
    assert not newcomer.home.exists()


@pytest.mark.parametrize(
    "words", [["ticket", "show"], ["ticket", "explain"], ["ticket", "watch"], ["trajectory", "show"]]
)
def test_an_unknown_ticket_is_invalid(newcomer: Newcomer, words: list[str]) -> None:
    make_ledger(newcomer)

    answer = newcomer.types(*words, "INF-4521")

    assert answer.code == INVALID
    assert "INF-4521" in said(answer) and "harness ticket list" in said(answer)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["summary", "--week", "2025-W53"], ["--week 2025-W53", "2026-W47"]),
        (["summary", "--week", "last"], ["--week last", "2026-W47"]),
        (["summary", "--out", "nowhere/summary.html"], ["nowhere/summary.html", "a folder that can be written to"]),
        (["trajectory", "export", "--out", "new", "--since", "lately"], ["--since lately", "2026-11-26", "7d"]),
        (["trajectory", "export", "--out", "/dev/null"], ["--out /dev/null", "new"]),
        (["trajectory", "validate", "nowhere.json"], ["nowhere.json", "an export"]),
    ],
)
def test_a_week_a_time_or_a_path_that_cannot_be_is_invalid(
    newcomer: Newcomer, words: list[str], names: list[str]
) -> None:
    make_ledger(newcomer)

    answer = newcomer.types(*words)

    assert answer.code == INVALID
    assert all(name in said(answer) for name in names), answer.stderr


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("HARNESS_AGENT", "nobody", "runbook"),
        ("TEMPORAL_ADDRESS", "localhost", "host:port"),
        ("TEMPORAL_ADDRESS", "localhost:99999", "host:port"),
        ("TEMPORAL_NAMESPACE", "a b", "letters, digits"),
        ("PROMETHEUS_URL", "localhost:9090", "http://"),
        ("HARNESS_LEDGER_URL", "mysql://me:hush@host/db", "sqlite:///PATH"),
    ],
)
def test_a_bad_variable_is_invalid_and_what_is_allowed_is_told(
    newcomer: Newcomer, variable: str, value: str, allowed: str
) -> None:
    answer = newcomer.types("ticket", "list", environment={variable: value})

    line = said(answer)
    assert answer.code == INVALID
    assert variable in line and allowed in line
    assert "hush" not in line, "a ledger's URL may hold a password"


def test_every_bad_variable_is_told_at_once(newcomer: Newcomer) -> None:
    answer = newcomer.types("status", environment={"HARNESS_AGENT": "nobody", "PROMETHEUS_URL": "nowhere"})

    assert answer.code == INVALID
    assert "HARNESS_AGENT" in answer.stderr and "PROMETHEUS_URL" in answer.stderr


@pytest.mark.parametrize("words", [["up"], ["down"], ["ticket", "list"]])
def test_a_home_that_cannot_be_one_is_told_in_a_line(tmp_path: Path, words: list[str]) -> None:
    file = tmp_path / "home"
    file.touch()

    answer = Newcomer(file).types(*words)

    assert answer.code != DONE
    assert str(file) in said(answer)


@pytest.mark.parametrize("words", [["up"], ["demo", "--incident", "quiet", "--headless"]])
def test_a_home_that_may_not_be_made_is_told_in_a_line(words: list[str]) -> None:
    nowhere = Path("/sys/no-home-can-be-made-here")

    answer = Newcomer(nowhere).types(*words)

    assert answer.code == UNREACHABLE
    assert str(nowhere) in said(answer) and "HARNESS_HOME" in said(answer)


def test_a_part_that_somebody_else_should_run_is_named_when_it_is_away(newcomer: Newcomer) -> None:
    answer = newcomer.types("up", environment={"TEMPORAL_ADDRESS": "127.0.0.1:1"})

    assert answer.code == UNREACHABLE
    assert "TEMPORAL_ADDRESS" in said(answer) and "127.0.0.1:1" in said(answer)


@pytest.mark.parametrize("words", [["ticket", "list"], ["ledger", "verify", "--json"], ["trajectory", "show", "INF-1"]])
def test_a_file_that_is_no_ledger_is_left_alone_and_told(newcomer: Newcomer, words: list[str]) -> None:
    newcomer.home.mkdir()
    ledger = newcomer.home / "ledger.db"
    ledger.write_bytes(rubbish := b"this is no ledger, whatever its name says. " * 200)

    answer = newcomer.types(*words)

    assert answer.code == NO
    assert str(ledger) in said(answer) and "damaged" in said(answer)
    assert ledger.read_bytes() == rubbish


def test_nothing_is_recovered_while_temporal_is_away(newcomer: Newcomer) -> None:
    make_ledger(newcomer)

    answer = newcomer.types("recover", "--json", environment={"TEMPORAL_ADDRESS": "127.0.0.1:1"})

    assert (answer.code, answer.stdout) == (UNREACHABLE, "")
    assert "127.0.0.1:1" in said(answer) and "harness up" in said(answer)


@pytest.mark.parametrize(
    "words", [["ticket", "list"], ["ledger", "verify"], ["trajectory", "show", "INF-1"], ["recover"]]
)
def test_no_ledger_is_not_taken_for_a_healthy_one(newcomer: Newcomer, words: list[str]) -> None:
    answer = newcomer.types(*words)

    assert answer.code == UNREACHABLE
    assert "ledger.db" in said(answer) and "harness up" in said(answer)
    assert not newcomer.home.exists()


def test_a_ticket_whose_text_is_lost_hides_no_other(newcomer: Newcomer) -> None:
    # given two tickets, and the text of one of them lost
    newcomer.home.mkdir()
    clock, rules, blobs = SystemClock(), read_rules(), Blobs(newcomer.home / "blobs")
    with closing(Ledger.open(newcomer.home / "ledger.db", now=clock.now)) as ledger:
        for kind, name in (("slo", rules.slos[0].name), ("invariant", rules.invariants[0].name)):
            signal = Signal(
                kind=kind, name=name, service=rules.service, sampled_at=clock.now(), began_at=clock.now(),
                evidence={"reason": "burns"},
            )  # fmt: skip
            file(
                signal, slos=rules.slos, invariants=rules.invariants, sustained_s=10, policy=rules.profile.causes,
                ledger=ledger, blobs=blobs, clock=clock,
            )  # fmt: skip
        lost = ledger.read_stream("ticket-INF-1")[0].data["spec"].removeprefix("sha256:")
    (newcomer.home / "blobs" / lost[:2] / lost[2:]).unlink()

    # when they are listed
    answer = newcomer.types("ticket", "list", "--json")

    # then both are there, and the one says what is lost
    titles = {row["id"]: row["title"] for row in answer.document}
    assert answer.code == DONE and set(titles) == {"INF-1", "INF-2"}
    assert lost in titles["INF-1"] and "missing" in titles["INF-1"] and rules.invariants[0].name in titles["INF-2"]


def test_a_ledger_that_may_only_be_read_can_be_read(newcomer: Newcomer) -> None:
    make_ledger(newcomer)
    read_only = {"HARNESS_LEDGER_URL": f"sqlite:///file:{newcomer.home / 'ledger.db'}?mode=ro&uri=true"}

    assert newcomer.types("ledger", "verify", environment=read_only).code == DONE
    assert newcomer.types("ticket", "list", environment=read_only).code == DONE


def test_a_ledger_that_may_only_be_read_and_is_not_there_is_told(newcomer: Newcomer) -> None:
    read_only = {"HARNESS_LEDGER_URL": f"sqlite:///file:{newcomer.home / 'ledger.db'}?mode=ro&uri=true"}

    answer = newcomer.types("ledger", "verify", environment=read_only)

    assert answer.code != DONE
    assert "ledger.db" in said(answer)
