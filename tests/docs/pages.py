"""The Markdown pages of the repository, cut into what the tests look at. Reads pages; writes nothing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "docs", "services", "runbooks", "scenarios", "trajectories", "deploy", "slos", "invariants", "policies", "harness",
)  # fmt: skip
CONSOLES = {"sh", "console", "bash", "shell"}


def markdown() -> list[Path]:
    """Every page that a reader of this repository may open."""
    inner = [page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md")]
    return sorted([*ROOT.glob("*.md"), *inner])


@cache
def tokens(page: Path) -> list[Token]:
    """The page's tokens, the inline ones too. Five tests ask for those of every page."""
    parsed = MarkdownIt("commonmark").enable("table").parse(page.read_text())
    return [inner for token in parsed for inner in (token, *(token.children or []))]


def links(page: Path) -> Iterator[str]:
    """Targets of the page's links and pictures."""
    for token in tokens(page):
        if token.type in ("link_open", "image"):
            yield str(token.attrs.get("href") or token.attrs.get("src"))


def command_lines(page: Path) -> Iterator[str]:
    """What a reader may type: inline code, and the lines of shell blocks (in a console block those after ``$``)."""
    for token in tokens(page):
        if token.type == "code_inline":
            yield token.content
        elif token.type == "fence" and token.info.split(" ")[0] in CONSOLES:
            for line in token.content.replace("\\\n", " ").splitlines():
                if token.info != "console" or line.startswith("$ "):
                    yield line.removeprefix("$ ")


def calls(page: Path, program: str) -> Iterator[list[str]]:
    """The arguments of every call of the program on the page."""
    for line in command_lines(page):
        for part in re.split(r"\||&&|;|\s#", line):
            words = _words(part)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words and words[0].removeprefix(".venv/bin/") == program:
                yield words[1:]


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # an apostrophe in prose: no command
        return []
