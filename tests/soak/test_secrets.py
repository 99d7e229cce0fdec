"""An incident with secrets in every way in, searched while everything runs and when it is down. Starts the stack."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.homes import home_at
from tests.acceptance.newcomer import SECRETS
from tests.acceptance.outside import Outside
from tests.acceptance.searching import assert_nowhere, lines_of, pem

DEMO_WITHIN_S = 600.0
TICKET_WITHIN_S = 300.0
SAID = "password=hunter2-of-a-person"


@pytest.mark.timeout(1800)
def test_no_secret_that_enters_is_in_any_file_of_the_home(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    values = {**SECRETS, **lines_of(pem("notes")), "said": SAID.partition("=")[2]}
    with home_at(tmp_path / "home") as newcomer:
        # given an incident with secrets in a signal, in a tool's answer and in the environment of every part
        answer = newcomer.types("demo", "--headless", "--json", "--keep", "--seed", "3", timeout_s=DEMO_WITHIN_S)
        assert answer.code == 0, answer.stderr[-3000:]

        # and people whose ticket holds a private key, and who cancel it with a password in their words
        criteria = [{"metric": "slow_share", "condition": "< 10%", "duration": "30s"}]
        spec = {"type": "improvement", "objective": {"description": f"Try it; {SAID}"}, "acceptance_criteria": criteria,
                "constraints": ["requires approval"], "context": {"notes": f"it is\n{pem('notes')}"}}  # fmt: skip
        (tmp_path / "ticket.json").write_text(json.dumps({"ticket": spec}))
        filed = newcomer.types("ticket", "file", "--file", str(tmp_path / "ticket.json"), "--json")
        assert filed.code == 0, filed.stderr
        ticket, ends_at_s = filed.document["id"], time.monotonic() + TICKET_WITHIN_S
        told = newcomer.types("ticket", "cancel", ticket, "--why", SAID, timeout_s=TICKET_WITHIN_S)
        while told.code and newcomer.types("ticket", "show", ticket, "--json").document["state"] == "filed":
            assert time.monotonic() < ends_at_s, told.stderr
            told = newcomer.types("ticket", "cancel", ticket, "--why", SAID, timeout_s=TICKET_WITHIN_S)

        # then none of it is in any file, while everything runs and when it is down
        assert_nowhere(newcomer.home, values)
        told_of = [row.data["found"] for row in Outside(newcomer.home).rows() if row.type == "Redacted"]
        counts = sum(map(Counter, told_of), Counter())
        record_property("taken out", dict(counts))
        assert counts["HARNESS_TEST_SECRET"] >= 2 and counts["private-key"] >= 1 and counts["assignment"] >= 1
        newcomer.types("down")
        assert_nowhere(newcomer.home, values)
