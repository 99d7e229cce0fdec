"""What the docs tell a reader to type exists: commands, flags, make targets. Reads docs and the CLI's definition."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harness.adapters.declarations import load_manifest, read_yaml
from harness.core.admission import failing_rules
from harness.core.ticket_spec import TicketSpec
from tests.command_line import COMMANDS
from tests.docs.pages import ROOT, calls, markdown

PLACEHOLDER = re.compile(r"[A-Z<\[…-]")


def problem(words: list[str]) -> str | None:
    """Why ``harness`` + words is no command line; None when it is one (values are not looked at)."""
    command: Any = COMMANDS
    while words and hasattr(command, "commands") and not PLACEHOLDER.match(words[0]):
        if words[0] not in command.commands:
            return f"no command `{words[0]}`; there are {', '.join(sorted(command.commands))}"
        command, words = command.commands[words[0]], words[1:]
    known = {name for item in command.params for name in [*item.opts, *item.secondary_opts]} | {"--help"}
    flags = [word.strip("[]").split("=")[0] for word in words if word.strip("[]").startswith("--")]
    unknown = [flag for flag in flags if flag not in known]
    return f"no flag {', '.join(unknown)}; there are {', '.join(sorted(known))}" if unknown else None


def test_a_command_that_does_not_exist_is_found() -> None:
    assert "no command `dmeo`" in (problem(["dmeo"]) or "")
    assert "no flag --loud" in (problem(["demo", "--loud"]) or "")


@pytest.mark.parametrize("page", markdown(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_harness_command_on_a_page_exists(page: Path) -> None:
    wrong = {" ".join(words): why for words in calls(page, "harness") if (why := problem(words))}

    assert not wrong


@pytest.mark.parametrize("page", markdown(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_on_a_page_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for words in calls(page, "make") for word in words if re.fullmatch(r"[a-z-]+", word)}

    assert named <= targets


def test_the_ticket_file_that_readers_are_given_is_admitted() -> None:
    spec = TicketSpec.read(read_yaml(ROOT / "docs/ticket.yaml"), "docs/ticket.yaml", service="ratelimiter")

    assert failing_rules(spec, load_manifest(ROOT / "services/ratelimiter/service.yaml"), datetime.now(UTC)) == ()
