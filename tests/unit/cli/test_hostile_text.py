"""Whatever somebody wrote: no terminal, page, chat, commit or prompt does more with it than to show it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from harness.agent.speech import framed
from harness.cli import summary_html, summary_markdown
from harness.cli.explain import explained
from harness.cli.story import line
from harness.core import events as e
from harness.core.explanation import evidence
from harness.core.notice import TEXT_CHARS, TYPES, notice
from harness.core.plain_text import commit_message, one_line, safe, storable
from harness.core.record import Recorded
from tests.hostile import AT, HOSTILE, OBEYED, Bodies, event

SHORT = [text for text in HOSTILE.values() if len(text) < 1000]
kinds = pytest.mark.parametrize("kind", sorted(e.EVENTS.values(), key=lambda kind: kind.__name__))
each = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
anything = st.text() | st.text(st.characters(max_codepoint=0x2FF)) | st.sampled_from(list(HOSTILE.values())[:-1])


def recorded(told: e.Event) -> Recorded:
    kind = type(told).__name__
    data = told.model_dump(mode="json")
    return Recorded("id", kind, 1, data, "human:x", None, None, AT, "ticket-INF-1", 1, 1, AT, "0" * 64, "0" * 64)


@given(anything)
def test_nothing_that_a_terminal_obeys_is_left_of_any_text(text: str) -> None:
    assert not OBEYED.search(safe(text)) and "\n" not in one_line(text)
    assert safe(safe(text)) == safe(text)


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])))
def test_what_people_read_stays_as_it_is(text: str) -> None:
    assert safe(text) == text and storable(text) == text


@given(st.recursive(anything, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5))
def test_whatever_is_stored_can_be_written_as_utf_8_and_holds_no_nul(value: Any) -> None:
    text = json.dumps(storable(value), ensure_ascii=False)
    assert text.encode() and "\\u0000" not in text


@kinds
def test_the_line_of_every_event_is_one_line_that_commands_nothing(kind: type[e.Event]) -> None:
    for text in SHORT:
        told = line(event(kind, text), Bodies(text))
        assert told is None or (not OBEYED.search(told) and "\n" not in told)


@kinds
def test_what_explains_an_event_is_shown_line_by_line_and_commands_nothing(kind: type[e.Event]) -> None:
    for text in SHORT:
        happened = event(kind, text)
        decision = {
            "position": 1, "at": AT.isoformat(), "actor": text, "why": text, "attempt": 0, "question": "ticket",
            "decided": None, "evidence": evidence(happened, Bodies(text).get_json),
        }  # fmt: skip
        shown = list(explained({"decisions": [decision]}))
        assert not [one for one in shown if OBEYED.search(one) or "\n" in one]


@pytest.mark.parametrize("name", TYPES)
def test_a_notice_is_short_and_calls_nobody(name: str) -> None:
    for text in HOSTILE.values():
        happened = event(e.EVENTS[name], text)
        said = str(notice(recorded(happened), "INF-1", line(happened, Bodies(text)) or "")["text"])
        assert len(said) < TEXT_CHARS + 100 and not OBEYED.search(said) and "\n" not in said
        assert not re.search(r"<[!@#/a-z]|@(everyone|here|channel)|\]\(", said, re.IGNORECASE)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)


@each
def test_a_page_holds_no_markup_of_somebody_else_and_turns_nothing_around(text: str) -> None:
    page = summary_html.text(text)
    tags = Tags()
    tags.feed(page)
    assert tags.found == [] and not OBEYED.search(page)
    shown = "".join(summary_html._diff({"text": f"+{text}\n-{text}", "left_out_chars": 0, "blob": "x"}, "x"))
    assert "<script" not in shown and "<img" not in shown and not OBEYED.search(shown)


@each
def test_a_markdown_page_makes_nothing_of_it_but_text(text: str) -> None:
    shown = summary_markdown.text(text[:2000])
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(f"- {shown}")
    inline = [child.type for token in tokens for child in token.children or ()]
    assert set(inline) <= {"text", "text_special"} and not OBEYED.search(shown)


@each
def test_a_commits_message_has_its_own_trailers_and_no_others(text: str) -> None:
    message = f"{commit_message(text, text)}\n\nAgent: runbook\nTicket: INF-1\n"
    assert not OBEYED.search(message)
    subject, _, rest = message.partition("\n\n")
    assert "\n" not in subject
    trailers = re.findall(r"^[A-Za-z-]+:", rest, re.MULTILINE)
    assert trailers == ["Agent:", "Ticket:"] and not re.search(r"^---", rest, re.MULTILINE)


@each
def test_in_a_prompt_it_is_data_that_cannot_end_its_frame_nor_hide_anything(text: str) -> None:
    told = framed(text, text)
    assert re.fullmatch(r'<data origin="[A-Za-z0-9_ .-]{0,60}">\n.*\n</data>', told, re.DOTALL)
    assert len(re.findall(r"</?data\b", told, re.IGNORECASE)) == 2 and not OBEYED.search(told)
