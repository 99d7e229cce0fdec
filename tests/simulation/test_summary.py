"""The week's summary of real histories: stages of the harness at work on a modelled world, in virtual time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from markdown_it import MarkdownIt

from harness.cli.story import line
from harness.cli.summary import rendered, week_document
from harness.cli.summary_html import page
from harness.cli.summary_markdown import markdown
from harness.core import events as e
from harness.core.summary import summary
from harness.core.week import Week
from harness.journal import decode
from harness.simulation.clock import START, run
from tests.simulation.histories import repaired, repaired_at_the_second_try, replaced
from tests.simulation.operations import SLOW, Operations, days_work, healthy, incident, innocent

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)> \x1b[31mred\x1b]8;;http://evil.example\x07 \u202ereversed "
    "](javascript:alert(1)) [a](http://evil.example) ![b](http://evil.example/x) http://evil.example www.evil.example "
    "`code` ``` fence\n# heading\n- item | cell </style></title> &lt; \" ' {{x}} $x$"
)


OWN_TAGS = set(
    [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "h3",
        "p",
        "a",
        "article",
        "span",
        "dl",
        "dt",
        "dd",
        "ol",
        "ul",
        "li",
        "svg",
        "rect",
        "text",
        "line",
        "div",
        "table",
        "tr",
        "th",
        "td",
        "details",
        "summary",
        "pre",
        "ins",
        "del",
        "code",
        "i",
        "b",
        "br",
        "strong",
        "footer",
    ]
)
OWN_ATTRIBUTES = set(
    [
        "lang",
        "charset",
        "name",
        "content",
        "http-equiv",
        "class",
        "id",
        "style",
        "viewbox",
        "role",
        "aria-label",
        "x",
        "y",
        "x1",
        "x2",
        "y1",
        "y2",
        "width",
        "height",
        "rx",
        "text-anchor",
    ]
)


def told(operations: Operations, week: Week | None = None) -> dict[str, Any]:
    rows = operations.ledger.read_all(limit=100_000)
    return summary(
        [(row, decode(row)) for row in rows], week=week or Week.of(START), head=operations.ledger.head(),
        body=operations.blobs.get_json, tell=lambda event: line(event, operations.blobs),
    )  # fmt: skip


def test_a_repaired_incident_is_told_with_its_reason_evidence_gates_and_the_way_back() -> None:
    async def story() -> None:
        operations = await incident(days_work(4))
        await operations.settle()
        document = told(operations)
        # one change, its signal and its own metric before, in trouble, and after
        [change] = document["changes"]
        assert change["signal"]["reason"].startswith("SLO latency burns") and change["outcome"] == "stands"
        own = change["evidence"][0]
        assert own["before"]["value"] < 0.1 < own["at_admission"]["value"] and own["after"]["value"] < 0.1
        assert change["arms"]["baseline"] > 0.5 > change["arms"]["canary"]
        assert [gate["passed"] for gate in change["gates"]] == [True] * 5
        assert change["diff"]["text"] == "-change-4\n" and change["diff"]["removed"] == 1
        assert change["revert"] == "harness ticket revert INF-1"
        assert sum(phase["seconds"] for phase in change["phases"]) == pytest.approx(change["seconds"], abs=0.1)
        # nothing is asked, and the week is named with its anchor
        assert document["asks"] == [] and not document["calm"]
        assert document["headline"].startswith("1 ticket: 1 resolved, 0 escalated. 1 change made and verified")
        assert document["ledger"]["head_hash"] == operations.ledger.head().hash
        # and every position that is named is an event of the ledger, in the list at the end
        rows = {row.position: row for row in operations.ledger.read_all(limit=100_000)}
        assert {one["position"]: one["hash"] for one in document["events"]} == {
            one["position"]: rows[one["position"]].hash for one in document["events"]
        }
        for shown in (page(document), markdown(document)):
            cited = set(re.findall(r"[\"(]#e(\d+)[\")]", shown))
            assert cited and cited <= set(re.findall(r'id="e(\d+)"', shown))

    run(story())


def test_what_was_stopped_and_what_is_asked_are_told_apart_from_what_changed() -> None:
    async def story() -> None:
        # given a fault that no commit is to blame for
        operations = await incident([])
        operations.world.disturb(SLOW)
        await operations.settle()
        document = told(operations)
        [ask] = document["asks"]
        assert "no release of the service changed" in ask["question"] and ask["ticket"] == "INF-1"
        assert document["changes"] == [] and "1 question waits for you" in document["headline"]
        assert "no release of the service changed" in page(document)

    run(story())


def test_a_change_that_its_canary_stops_is_told_apart_from_the_one_that_stands() -> None:
    async def story() -> None:
        operations = await repaired_at_the_second_try()
        document = told(operations)
        [stopped], [stands] = document["stopped"], document["changes"]
        assert (stopped["attempt"], stands["attempt"]) == (1, 2)
        assert stopped["stop"]["stage"] == "canary" and stopped["stop"]["reason"] and stopped["revert"] is None
        assert [gate["passed"] for gate in stopped["gates"]] == [True, True, False, None, None]
        assert [gate["passed"] for gate in stands["gates"]] == [True] * 5
        assert "1 change made and verified, 1 stopped or taken back" in document["headline"]

    run(story())


def test_a_change_that_is_no_text_is_told_as_the_units_in_which_it_is_done() -> None:
    async def story() -> None:
        # given a change whose body is not a diff, as that of an action of the catalog
        operations = await incident(days_work(4))
        await operations.settle()
        proposed = operations.last("INF-1", e.ChangeProposed)
        rows = operations.ledger.read_all(limit=100_000)
        document = summary(
            [(row, decode(row)) for row in rows], week=Week.of(START), head=operations.ledger.head(),
            body=lambda ref: {"units": ["n4"]} if ref == proposed.diff else operations.blobs.get_json(ref),
            tell=lambda event: line(event, operations.blobs),
        )  # fmt: skip
        [change] = document["changes"]
        assert change["diff"]["text"] == '{"units":["n4"]}'
        assert "n4" in page(document) and "n4" in markdown(document)

    run(story())


def test_an_operation_is_told_as_its_action_and_is_not_taken_back_by_a_revert() -> None:
    async def story() -> None:
        operations = await replaced()
        document = told(operations)
        [change] = document["changes"]
        assert change["kind"] == "operation" and change["operation"]["action"] == "add_nodes"
        assert change["revert"] is None and [gate["passed"] for gate in change["gates"]] == [True] * 5
        for shown in (page(document), markdown(document)):
            assert "add" in shown and "ticket revert" not in shown and "invariant capacity" in shown.replace("\\", "")

    run(story())


def test_a_secret_of_the_environment_is_in_no_form_of_the_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        operations = await repaired()
        monkeypatch.setenv("SOMEBODYS_PASSWORD", "change-4")
        record = operations.harness.record
        document = week_document(record, Week.of(START))
        assert document["changes"][0]["diff"]["text"] == "-[redacted]\n"
        for form in ("json", "md", "html"):
            assert "change-4" not in rendered(document, form)

    run(story())


def test_a_quiet_week_is_one_line_and_a_week_without_a_record_is_not_called_quiet() -> None:
    async def story() -> None:
        operations = await incident([innocent(n) for n in range(3)])
        await healthy(operations, 130)
        document = told(operations)
        assert document["calm"] and document["headline"].startswith("A quiet week: 120 looks at 3 objectives over")
        text = markdown(document)
        assert len([each for each in text.splitlines() if "quiet" in each]) == 1
        # the week before, nobody watched: that is no quiet
        unseen = told(operations, Week.of(START).before)
        assert unseen["headline"].startswith("Nothing is on record") and unseen["ledger"]["events"] == 0

    run(story())


def test_a_week_is_told_as_it_stood_at_its_end_whatever_came_later() -> None:
    async def story() -> None:
        # given a week that ended while a canary ran
        operations = await incident(days_work(4))
        await operations.settle()
        [looked, *_] = [row for row in operations.ledger.read_stream("ticket-INF-1") if row.type == "CanaryLooked"]
        document = told(operations, Week(looked.occurred_at - timedelta(days=7)))
        # then the ticket is under way, whatever became of it
        assert [(one["ticket"], one["state"]) for one in document["open"]] == [("INF-1", "canarying")]
        assert document["changes"] == [] and document["ledger"]["last_position"] == looked.position - 1
        assert "1 under way" in document["headline"]

    run(story())


@pytest.mark.parametrize("times", [1, 2_000], ids=["a line", "a megabyte"])
def test_text_of_the_world_is_shown_and_never_obeyed(times: int) -> None:
    async def story() -> None:
        # given an incident, whose texts somebody else wrote, at whatever length
        operations = await incident(days_work(4))
        await operations.settle()
        rows = operations.ledger.read_all(limit=100_000)
        bodies: Any = Poisoned(operations, HOSTILE * times)
        document = summary(
            [(row, decode(row)) for row in rows], week=Week.of(START), head=operations.ledger.head(),
            body=bodies.get_json, tell=lambda event: line(event, bodies),
        )  # fmt: skip
        html, text = page(document), markdown(document)
        # then the page holds no tag, control character or address of theirs, and is not of their length
        seen = Tags(html)
        assert seen.names <= OWN_TAGS and seen.names >= {"article", "pre", "svg"}
        assert all(href.startswith("#e") for href in seen.hrefs) and seen.other_attributes <= OWN_ATTRIBUTES
        for shown in (html, text):
            assert "\x1b" not in shown and "\u202e" not in shown and "\x07" not in shown
            assert len(shown) < 300_000
        # and the Markdown has only links into itself, no picture, no markup but its own anchors
        for token in MarkdownIt("commonmark").enable("table").parse(text):
            for inner in [token, *(token.children or [])]:
                assert inner.type != "image"
                assert inner.type != "link_open" or str(inner.attrs["href"]).startswith("#e")
                assert inner.type not in ("html_inline", "html_block") or re.fullmatch(
                    r'<a id="e\d+">|</a>', inner.content.strip()
                )
        tokens = MarkdownIt("commonmark").enable("table").parse(text)
        assert [token.tag for token in tokens if token.type == "heading_open"].count("h1") == 1

    run(story())


class Tags(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.hrefs: list[str] = []
        self.other_attributes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.hrefs += [value or "" for name, value in attrs if name == "href"]
        self.other_attributes |= {name for name, _ in attrs if name != "href"}


def poisoned(value: Any, hostile: str) -> Any:
    """The same document with every text of people and agents replaced."""
    if isinstance(value, dict):
        told_by_others = {"description", "summary", "predicted_effect", "why", "reason", "text", "question", "notes"}
        return {
            key: hostile if key in told_by_others and isinstance(inner, str) else poisoned(inner, hostile)
            for key, inner in value.items()
        }
    return [poisoned(inner, hostile) for inner in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Poisoned:
    """The bodies of these operations, as somebody hostile would have written them."""

    operations: Operations
    hostile: str

    def get_json(self, ref: str) -> Any:
        return poisoned(self.operations.blobs.get_json(ref), self.hostile)
