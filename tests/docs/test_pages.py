"""Pages hold what they promise: links lead somewhere, generated pages are fresh, ADRs are complete, terms are used."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from harness.core.events import EVENTS
from tests.docs.pages import ROOT, links, markdown

DECISIONS = sorted((ROOT / "docs/adr").glob("*.md"))
SECTIONS = [
    "Context",
    "Decision",
    "What was rejected, and what it would have cost",
    "How we would notice that we were wrong",
]


@pytest.mark.parametrize("page", markdown(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_pages_leads_to_a_file(page: Path) -> None:
    targets = [link.split("#")[0] for link in links(page) if not re.match(r"https?:|mailto:", link)]

    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_generated_pages_say_what_the_code_says() -> None:
    pages = runpy.run_path(str(ROOT / "docs/generate.py"))["pages"]()

    here = {page.name: page.read_text() for page in (ROOT / "docs").iterdir() if page.name in pages}
    stale = [name for name, text in pages.items() if here.get(name) != text]

    assert stale == [], "run `make docs`"


def test_every_event_says_what_it_means() -> None:
    assert [name for name, event in EVENTS.items() if not event.__doc__] == []


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_fits_on_a_page_and_says_how_it_could_be_wrong(page: Path) -> None:
    text = page.read_text()

    assert re.fullmatch(r"\d{4}-[a-z0-9-]+", page.stem)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert len(text.split()) <= 600


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(page.stem[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_every_term_of_the_glossary_is_explained_once_and_used_elsewhere() -> None:
    terms = re.findall(r"^\*\*(.+?)\*\*", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    code = [*ROOT.glob("harness/**/*.py"), *ROOT.glob("workflows/*.py"), *ROOT.glob("services/*/service.yaml")]
    sources = [page for page in [*markdown(), *code] if page.name != "glossary.md"]
    elsewhere = "\n".join(page.read_text().lower().replace("_", " ") for page in sources)

    assert terms == sorted(terms, key=str.lower)
    assert len(terms) == len(set(terms))
    assert [term for term in terms if term.lower() not in elsewhere] == []
