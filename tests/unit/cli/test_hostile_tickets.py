"""A ledger full of what somebody wrote to be obeyed, and every command that reads it: shown, and never done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from harness.bootstrap import Record, open_record
from harness.core import events as e
from harness.core.errors import Invalid
from harness.core.ids import event_id, signal_stream, ticket_stream
from harness.core.lifecycle import State
from harness.core.record import NewEvent, StreamWrite
from harness.core.ticket_spec import TicketSpec
from harness.settings import Settings
from tests.command_line import ended
from tests.hostile import AT, HOSTILE, OBEYED, REF, body, event

WAYS: dict[State, list[type[e.Event]]] = {
    State.REJECTED: [e.TicketRejected],
    State.WAITING: [e.TicketAdmitted, e.WindowAwaited],
    State.AWAITING_APPROVAL: [
        e.TicketAdmitted, e.AttemptStarted, e.ActionTaken, e.ObservationRecorded, e.ChangeProposed, e.ApprovalRequested,
    ],
    State.ESCALATED: [e.TicketAdmitted, e.AttemptStarted, e.HelpRequested],
    State.CANCELLED: [e.TicketAdmitted, e.TicketSplit, e.TicketCancelled],
    State.RESOLVED: [
        e.TicketAdmitted, e.AttemptStarted, e.ActionTaken, e.ObservationRecorded, e.ChangeProposed, e.LockAcquired,
        e.ChecksPassed, e.StartMeasured, e.CanaryStarted, e.CanaryStepped, e.CanaryLooked, e.CanaryPassed, e.MainMoved,
        e.NodeSwapped, e.ReleaseDeployed, e.CriteriaMet, e.LockReleased,
    ],
}  # fmt: skip
LISTS = [
    "ticket list", "signal list", "ticket queue", "deployment list", "ledger tail --after 0", "ledger verify",
    "ledger head", "trajectory list", "notice list", "budget show --by model", "budget show --by tenant",
    "budget show --by use_case", "summary --week 2026-W48 --format md", "summary --week 2026-W48 --format html",
]  # fmt: skip
OF_ONE = ("ticket show", "ticket explain", "trajectory show")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HARNESS_LEDGER_URL", raising=False)
    yield tmp_path / "home"


def new(kind: type[e.Event], text: str, ref: str, about: str, place: int, **more: Any) -> NewEvent:
    """An event whose every word is that text, and whose fields are ``more`` where it has such."""
    data = json.loads(json.dumps(event(kind, text).model_dump(mode="json")).replace(REF, ref))
    return NewEvent(
        id=event_id(f"{about}/{place}"), type=kind.__name__, schema_version=kind.schema_version,
        data={**data, **{name: value for name, value in more.items() if name in data}}, actor="human:x",
        occurred_at=AT + timedelta(seconds=place), correlation_id=about,
    )  # fmt: skip


def written(*texts: str) -> Record:
    """A ledger with a ticket in each of these states for each text, whose every word is that text."""
    record = open_record(Settings.load())
    numbers, signals = count(1), count(1)
    for text in texts:
        ref, spec = record.blobs.put_json(body(text)), record.blobs.put_json({"ticket": body(text)["ticket"]})
        started = new(e.SignalStarted, text, ref, f"signal-{next(signals)}", 0)
        record.ledger.append([StreamWrite(signal_stream(started.id), 0, [started])])
        for kinds in WAYS.values():
            ticket = f"INF-{next(numbers)}"
            events = []
            for place, kind in enumerate([e.TicketFiled, *kinds]):
                named = spec if kind is e.TicketFiled else ref
                of_family = {"children": ["INF-1"]} if kind is e.TicketSplit else {}
                events.append(new(kind, text, named, ticket, place, ticket_id=ticket, attempt=1, **of_family))
            record.ledger.append([StreamWrite(ticket_stream(ticket), 0, events)])
    return record


def test_every_command_that_reads_shows_it_and_no_terminal_obeys(home: Path) -> None:
    texts = [text[:150] for text in HOSTILE.values()]  # as much as any field takes
    written(*texts).ledger.close()
    for command in [*LISTS, *(f"{one} INF-{7 * n + 1}" for n in range(0, 18, 2) for one in OF_ONE)]:
        result = ended(command.split())
        assert result.exception is None or isinstance(result.exception, SystemExit), (command, result.exception)
        assert not (found := OBEYED.search(result.output)), (command, found)
        forged = [said for said in result.output.splitlines() if said.startswith(("INF-9    resolved", "#99    12"))]
        assert "summary" in command or forged == [], (command, forged)


def test_what_no_database_holds_is_put_right_at_the_door(home: Path) -> None:
    record = written("a\ud800b\x00c")
    assert record.ledger.verify().ok
    told = record.ledger.read_stream(ticket_stream("INF-1"))[-1].data["reasons"]
    assert told == ["a\ufffdb\u2400c"]
    ref = record.blobs.put_json({"text": "\udfff"})
    assert record.blobs.get_json(ref) == {"text": "\ufffd"}
    record.ledger.close()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"objective": {"description": "x" * 1_000_000}},
         "ticket.yaml: ticket: objective.description: has 1000000 characters; at most 2000 are allowed"),
        ({"context": {"notes": "x" * 1_000_000}},
         "ticket.yaml: ticket: context.notes: has 1000000 characters; at most 20000 are allowed"),
        ({"labels": {"team": "x" * 201}},
         "ticket.yaml: ticket: labels.team: has 201 characters; at most 200 are allowed"),
        ({"acceptance_criteria": [{"metric": "m" * 1_000_000, "condition": "< 1"}]},
         "ticket.yaml: ticket: acceptance_criteria[0].metric: has 1000000 characters; at most 200 are allowed"),
        ({"priority": "\x1b" * 1_000}, "(4002 characters)"),
    ],
)  # fmt: skip
def test_a_field_that_is_too_large_is_refused_with_place_size_and_limit(fields: dict[str, object], said: str) -> None:
    given = {
        "type": "incident", "service": "s", "objective": {"description": "x"},
        "acceptance_criteria": [{"metric": "m", "condition": "< 1"}], **fields,
    }  # fmt: skip
    with pytest.raises(Invalid) as refused:
        TicketSpec.read({"ticket": given}, "ticket.yaml")
    assert said in str(refused.value) and len(str(refused.value)) < 600


def test_a_file_that_is_too_large_or_holds_itself_is_refused_with_its_place(home: Path, tmp_path: Path) -> None:
    large, circle = tmp_path / "large.yaml", tmp_path / "circle.yaml"
    large.write_bytes(b"#" * 2_000_000)
    part = "type: incident\n  objective: {description: x}\n  acceptance_criteria: [{metric: m, condition: < 1}]"
    circle.write_text(f"ticket: &ticket\n  {part}\n  children: [*ticket]\n")
    too_large = ended(["ticket", "lint", str(large)])
    in_a_circle = ended(["ticket", "lint", str(circle)])
    assert isinstance(too_large.exception, Invalid) and "is larger than 1048576 bytes" in str(too_large.exception)
    assert isinstance(in_a_circle.exception, Invalid) and "children[0]" in str(in_a_circle.exception)


def test_a_change_without_a_repository_is_refused_without_a_path_of_this_machine(home: Path) -> None:
    open_record(Settings.load()).ledger.close()
    refused = ended(["ticket", "file", "--change", "abcdef0"]).exception
    assert isinstance(refused, Invalid)
    assert str(refused) == "change: ratelimiter has no repository here; `harness up` makes it"


@pytest.mark.parametrize("name", ["\x1b[31mroot", "a\nb", "\u202eada", "x" * 101, ""])
def test_a_name_that_is_none_is_refused_where_it_is_given(name: str, home: Path) -> None:
    written("x").ledger.close()
    result = ended(["ticket", "cancel", "INF-2", "--by", name])
    assert isinstance(result.exception, Invalid) and "--by: a name has 1 to 100 printable" in str(result.exception)


def test_an_answer_that_nobody_would_read_is_refused_with_size_and_limit(home: Path) -> None:
    written("x").ledger.close()
    result = ended(["ticket", "answer", "INF-4", "x" * 20_001])
    assert str(result.exception).startswith("TEXT: has 20001 characters; at most 20000 are allowed")
