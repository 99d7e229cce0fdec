"""`harness opportunity` on a home where nothing runs: the repository, the ledger and the sandbox are real."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.adapters.stack.home import Home
from harness.adapters.stack.prepare import make_service_repositories
from harness.bootstrap import open_record
from harness.settings import Settings
from tests.acceptance.newcomer import ROOT, Newcomer
from tests.integration.test_node_sandbox import needs_bubblewrap

pytestmark = needs_bubblewrap
TUNABLE = "answers-per-connection"


@pytest.fixture(scope="module")
def newcomer() -> Iterator[Newcomer]:
    """Somebody with a home that has the service's repository, and nothing that runs."""
    with tempfile.TemporaryDirectory(prefix="home-") as folder:
        Path(folder).chmod(0o755)
        make_service_repositories(Home(Path(folder)), ROOT)
        yield Newcomer(Path(folder))


@pytest.fixture(scope="module")
def filed(newcomer: Newcomer) -> str:
    """The ticket of the first offer."""
    nowhere = newcomer.types("opportunity", "list")
    assert nowhere.code == 4 and "no ledger is here yet" in nowhere.stderr and "HARNESS_HOME" in nowhere.stderr
    open_record(Settings.model_validate({"HARNESS_HOME": newcomer.home}))
    (row,) = newcomer.types("opportunity", "list", "--json").document["opportunities"]
    assert (row["tunable"], row["value"], row["state"]) == (TUNABLE, 1000, "open")
    answer = newcomer.types("opportunity", "file", "--json", timeout_s=100)
    assert answer.code == 0, answer.stderr
    return str(answer.document["id"])


def test_it_is_an_improvement_of_the_lowest_priority_with_a_goal_on_what_was_measured(
    newcomer: Newcomer, filed: str
) -> None:
    ticket = newcomer.types("ticket", "show", filed, "--json").document
    assert (ticket["type"], ticket["priority"], ticket["source"], ticket["state"]) == (
        "improvement", "P3", "opportunity", "filed",
    )  # fmt: skip
    goal, *others = ticket["acceptance_criteria"]
    assert (goal["metric"], goal["condition"]) == ("check_cost", "at least 10% better")
    assert {one["metric"] for one in others} == {"slow_share", "error_share", "wrong_denial_share", "available"}
    told = newcomer.types("ticket", "explain", filed).stdout
    assert f"{TUNABLE} is 1000: no other value was ever tried" in told


def test_while_its_ticket_lives_there_is_no_other(newcomer: Newcomer, filed: str) -> None:
    listed = newcomer.types("opportunity", "list", "--json").document
    assert [one["state"] for one in listed["opportunities"]] == ["under_way"]
    assert (listed["per_week"], listed["left_this_week"]) == (3, 2)
    again = newcomer.types("opportunity", "file")
    assert again.code == 1 and "no tunable is open" in again.stderr


def test_a_tunable_that_is_not_declared_is_refused_with_the_nearest(newcomer: Newcomer, filed: str) -> None:
    refused = newcomer.types("opportunity", "file", "answers-per-conection")
    assert refused.code == 2 and f"nearest: {TUNABLE}" in refused.stderr
