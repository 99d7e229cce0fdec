"""Which bodies an event refers to: no field can be missed, and nothing that only looks like one is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness.core import events as e
from harness.core.dropping import Drop, bare, dropped, in_its_place, standing, words
from harness.core.errors import Invalid
from harness.core.referring import Referred, blob_fields, declared, mentioned
from harness.core.retention import KINDS, Aging, Expired, Retention, Verdict, verdict

REF = {name: f"sha256:{name * 64}" for name in "abcdef"}
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
DAY = timedelta(days=1)
POLICY = Retention.parse({"unreferenced": "7d", "prompts": "10d", "outputs": "30d"}, "retention.yaml")


def by_schema(kind: type[e.Event]) -> set[tuple[str, ...]]:
    """The paths of references by the event's JSON Schema: another way to the same answer, that of pydantic."""
    whole = kind.model_json_schema()
    pattern = "^sha256:[0-9a-f]{64}$"

    def paths(schema: dict[str, Any]) -> Iterator[tuple[str, ...]]:
        if "$ref" in schema:
            schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
        if schema.get("pattern") == pattern:
            yield ()
        for one in [*schema.get("anyOf", ()), *schema.get("prefixItems", ())]:
            yield from paths(one)
        for key in ("items", "additionalProperties"):
            if isinstance(schema.get(key), dict):
                yield from paths(schema[key])
        for name, inner in schema.get("properties", {}).items():
            yield from ((name, *path) for path in paths(inner))

    return set(paths(whole))


def filled(schema: dict[str, Any], whole: dict[str, Any], refs: Iterator[str]) -> Any:
    """A value of the schema with everything in it that may be in it, each reference another one."""
    if "$ref" in schema:
        return filled(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole, refs)
    if "pattern" in schema:
        return next(refs)
    if "anyOf" in schema:
        return filled(schema["anyOf"][0], whole, refs)
    match schema.get("type"):
        case "object" if "properties" in schema:
            return {name: filled(inner, whole, refs) for name, inner in schema["properties"].items()}
        case "object":
            return {"key": filled(schema["additionalProperties"], whole, refs)}
        case "array":
            return [filled(schema["items"], whole, refs), filled(schema["items"], whole, refs)]
    return {"integer": 1, "number": 1.5, "boolean": True}.get(schema.get("type", ""), "text")


@pytest.mark.parametrize("kind", e.EVENTS.values(), ids=e.EVENTS)
def test_no_reference_of_any_event_is_missed(kind: type[e.Event]) -> None:
    # given an event with everything in it, each reference another one
    told = (f"sha256:{number:064x}" for number in range(1, 1000))
    given: list[str] = []
    data = filled(kind.model_json_schema(), kind.model_json_schema(), (given.append(one) or one for one in told))  # type: ignore[func-returns-value]

    # then the types say the same fields as the schema, the references are exactly those, and each is mentioned
    assert set(blob_fields(kind)) == by_schema(kind)
    assert sorted(declared(kind, data)) == sorted(given)
    assert sorted(mentioned(data)) == sorted(given)


def test_the_events_that_hold_free_text_hold_references() -> None:
    assert {name for name, kind in e.EVENTS.items() if blob_fields(kind)} >= {
        "TicketFiled", "ActionTaken", "ChecksFailed", "ChangeProposed", "AnswerGiven", "SignalStarted", "BlobDropped",
    }  # fmt: skip
    assert ("outcomes", "output") in blob_fields(e.ChecksPassed)


def test_the_hash_that_an_approval_is_for_names_no_body_and_is_left_alone() -> None:
    data = {"what": "change", "hash": REF["a"], "why": REF["b"]}

    assert declared(e.ApprovalRequested, data) == {REF["b"]: {"why"}}
    assert set(mentioned(data)) == {REF["a"], REF["b"]}


def test_what_policy_may_bound_are_fields_of_events() -> None:
    fields = {(name, ".".join(path)) for name, kind in e.EVENTS.items() for path in blob_fields(kind)}

    assert set(KINDS) <= fields


def referred(*rows: tuple[str, dict[str, Any]]) -> Referred:
    found = Referred()
    for position, (kind, data) in enumerate(rows, start=1):
        known = e.EVENTS.get(kind)
        found.see(position, kind, data, declared(known, data) if known else {})
    return found


def dropping(name: str, cause: str, why: str | None = None) -> tuple[str, dict[str, Any]]:
    return "BlobDropped", {"blob": REF[name], "cause": cause, "why": why and REF[why]}


def said(name: str) -> tuple[str, dict[str, Any]]:
    return "AnswerGiven", {"by": "ada", "answer": REF[name]}


def test_what_was_dropped_is_needed_no_more_until_something_new_refers_to_it() -> None:
    found = referred(said("a"), dropping("a", "expired"))
    assert not found.needs(REF["a"]) and not found.forgot(REF["a"]) and list(found.readable()) == []

    found = referred(said("a"), dropping("a", "expired"), said("a"))
    assert found.needs(REF["a"]) and list(found.readable()) == [(REF["a"], 3)] and found.gone() == 0


def test_what_was_forgotten_is_never_needed_again_and_the_reason_is() -> None:
    found = referred(said("a"), dropping("a", "forgotten", "b"), said("a"), dropping("a", "expired"))

    assert found.forgot(REF["a"]) and not found.needs(REF["a"]) and found.drops_of(REF["a"]) == 2
    assert list(found.readable()) == [(REF["b"], 2)]
    assert list(found.forgotten()) == [REF["a"]] and found.gone() == 1


def test_what_an_event_of_a_newer_harness_mentions_is_kept_and_not_asked_for() -> None:
    found = referred(("SomethingNew", {"deep": [{"in": REF["a"]}]}))

    assert found.needs(REF["a"]) and list(found.readable()) == []


@pytest.mark.parametrize(
    ("rows", "age", "said"),
    [
        ([said("a")], 99, "kept"),
        ([said("b")], 99, "unreferenced"),
        ([said("b")], 1, "young"),
        ([said("a"), dropping("a", "expired")], 99, "finished"),
        ([said("a"), dropping("a", "expired")], 1, "young"),
        ([said("a"), dropping("a", "forgotten")], 1, "finished"),
        ([said("a"), dropping("a", "forgotten"), said("a")], 1, "finished"),
    ],
)
def test_what_becomes_of_a_file_follows_from_its_events_and_its_age(
    rows: list[tuple[str, dict[str, Any]]], age: int, said: Verdict
) -> None:
    assert verdict(REF["a"], 100 - age, cutoff_ns=50, referred=referred(*rows), expired={}) == said


def test_what_expired_goes_only_when_nobody_put_it_again_a_moment_ago() -> None:
    over = {REF["a"]: Expired("outputs", 1.0)}

    assert verdict(REF["a"], 10, cutoff_ns=50, referred=referred(said("a")), expired=over) == "expired"
    assert verdict(REF["a"], 50, cutoff_ns=50, referred=referred(said("a")), expired=over) == "young"


def aged(*rows: tuple[str, str, dict[str, Any]], policy: Retention = POLICY, days: int = 100) -> dict[str, Expired]:
    """What is over so many days after noon, at which every event happened and ticket-1 was closed; ticket-2 lives."""
    aging = Aging(policy, NOON + days * DAY)
    for stream, kind, data in rows:
        aging.see(stream, NOON, kind, data, declared(e.EVENTS[kind], data))
    return dict(aging.over({"ticket-1": NOON, "ticket-2": None}.get))


def seen(name: str) -> dict[str, Any]:
    return {"attempt": 1, "step": 1, "tool": "x", "ok": True, "body": REF[name]}


def taken(call: str, reply: str) -> dict[str, Any]:
    return {"attempt": 1, "step": 1, "tool": "x", "call": REF[call], "reply": REF[reply]}


def test_answers_and_prompts_are_over_so_long_after_their_ticket_was_closed() -> None:
    rows = [("ticket-1", "ObservationRecorded", seen("a")), ("ticket-1", "ActionTaken", taken("b", "c"))]

    assert aged(*rows, days=9) == {}
    assert aged(*rows, days=10) == {REF["c"]: Expired("prompts", 10 * 86400)}
    assert set(aged(*rows, days=30)) == {REF["a"], REF["c"]}  # the call itself is kept for good


def test_a_body_is_kept_as_long_as_anything_needs_it() -> None:
    over = ("ticket-1", "ObservationRecorded", seen("a"))

    assert set(aged(over)) == {REF["a"]}
    assert aged(over, ("ticket-2", "ObservationRecorded", seen("a"))) == {}  # a ticket that lives
    assert aged(over, ("ticket-1", "AnswerGiven", said("a")[1])) == {}  # a person's words
    assert aged(("ticket-1", "AnswerGiven", said("a")[1]), over) == {}  # whatever came first
    assert aged(("ticket-1", "ActionTaken", taken("a", "a"))) == {}  # the same body, bounded and not, in one event
    assert aged(("signal-x", "ObservationRecorded", seen("a"))) == {}  # no ticket's
    assert aged(over, ("blob-x", *dropping("a", "expired"))) == {}  # dropped before
    assert set(aged(over, ("blob-x", *dropping("a", "expired")), over)) == {REF["a"]}


def test_what_policy_does_not_bound_is_kept_for_good() -> None:
    policy = Retention.parse({"unreferenced": "7d"}, "retention.yaml")

    assert aged(("ticket-1", "ObservationRecorded", seen("a")), policy=policy) == {}


def test_a_policy_that_would_race_with_those_who_put_is_refused() -> None:
    with pytest.raises(Invalid, match="unreferenced"):
        Retention.parse({"unreferenced": "10m"}, "retention.yaml")


def drop(cause: str = "forgotten", position: int = 1, **more: Any) -> Drop:
    told = {"blob": REF["a"], "cause": cause, "why": None, "kind": None, "kept_s": None, **more}
    event = e.BlobDropped.model_validate(told)
    return Drop(event, NOON, "human:ada", position)


def test_a_drop_is_told_with_who_when_and_why() -> None:
    assert words(drop(), "it holds a token") == "dropped on 2026-11-26 12:00 UTC by human:ada because: it holds a token"
    assert "a reason that is dropped as well" in words(drop(), None)
    told = words(drop("expired", kind="outputs", kept_s=30 * 86400), None)
    assert told.endswith("because outputs are kept for 30 d after their ticket is closed")


def test_forgotten_outlives_whatever_comes_after_it() -> None:
    first, later = drop("expired", 1), drop("expired", 3)
    forgotten = drop("forgotten", 2)

    assert standing([]) is None
    assert standing([first, later]) is later
    assert standing([first, forgotten, later]) is forgotten


def test_what_stands_in_a_bodys_place_is_known_as_such() -> None:
    assert dropped(in_its_place("gone")) == "[gone]" and dropped({"text": "there"}) is None
    assert bare(in_its_place("gone")) == {"dropped_body": "[gone]"} and bare([1]) == [1]
