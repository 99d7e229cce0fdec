"""The demo, worked by a model over HTTP: a script that measures, reads, breaks, repairs, submits. On the real stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.homes import home_at
from tests.models.endpoint import Call, Say, Step, serving
from tests.models.scripted import KEY, answers, body, submit

DEMO_WITHIN_S = 600.0
SLOWER = 5.0
"""A probe's figure that is so many times that of the good release is one of a bad one."""


class Mind:
    """Bisects with the service's own probe, then undoes the commit it found by editing, not by reverting it.

    It is told nothing of the incident. On its way it makes an edit that breaks the service, and has to see it.
    """

    def __init__(self) -> None:
        self._thoughts = self._session()
        next(self._thoughts)

    def __call__(self, request: dict[str, Any]) -> Step:
        if not answers(request):
            self.__init__()  # type: ignore[misc]  # another attempt begins with a clear head
        return self._thoughts.send(answers(request))

    def _session(self) -> Any:
        yield
        newest = yield from self._one("Since when?", "list_events", kind="release_changes", since_s=3600)
        log = yield from self._one("Which commits?", "git_log", since=newest["before"], until=newest["after"])
        commits = [newest["before"], *(entry["commit"] for entry in log["commits"])]
        good_ms = yield from self._probed(commits[0])
        low, high = 0, len(commits) - 1
        while high - low > 1:
            middle = (low + high) // 2
            slow = (yield from self._probed(commits[middle])) > SLOWER * good_ms
            low, high = (low, middle) if slow else (middle, high)
        diff = (yield from self._one("What did it do?", "git_diff", commit=commits[high]))["diff"]
        path, hunks = undone(diff)
        first = hunks[0][0].splitlines(keepends=True)[0]
        broken = yield from self._both(path, [(first, f"{first}!")])
        assert broken[-1]["passed"] is False, broken
        yield from self._both(path, [(f"{first}!", first)])
        repaired = yield from self._both(path, hunks)
        assert repaired[-1]["passed"] is True, repaired
        yield Say("It is out.", (submit("Undo by hand what one commit did."),))

    def _probed(self, commit: str) -> Any:
        measured = yield from self._one("How slow is it?", "measure", probe="latency", commit=commit)
        return min(measured["measures"]["wall_ms"])

    def _one(self, why: str, tool: str, **arguments: Any) -> Any:
        said = yield Say(why, (Call(tool, arguments),))
        return body(said[-1])

    def _both(self, path: str, edits: list[tuple[str, str]]) -> Any:
        calls = [Call("edit_file", {"path": path, "find": a, "replace": b, "why": "as thought"}) for a, b in edits]
        said = yield Say("Edit, then check.", (*calls, Call("run_checks")))
        return [body(one) for one in said[-len(calls) - 1 :]]


def undone(diff: str) -> tuple[str, list[tuple[str, str]]]:
    """The one file of a diff, and for each of its hunks what stands there now and what stood there before."""
    path, hunks = "", []
    for part in diff.split("\n@@ ")[1:]:
        lines = part.split("\n")[1:]
        lines = [line for line in lines if not line.startswith("\\")]
        changed = [n for n, line in enumerate(lines) if line[:1] in ("+", "-") and line]
        near = lines[max(changed[0] - 1, 0) : changed[-1] + 2]
        now = "".join(f"{line[1:]}\n" for line in near if line[:1] in ("+", " "))
        before = "".join(f"{line[1:]}\n" for line in near if line[:1] in ("-", " "))
        hunks.append((now, before))
    path = diff.split("\n+++ b/")[1].split("\n")[0]
    return path, hunks


def files_that_hold(key: str, home: Path) -> Iterator[str]:
    for path in home.rglob("*"):
        if path.is_file() and key.encode() in path.read_bytes():
            yield str(path)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_a_scripted_model_ends_the_demo_verified(
    provider: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    # given an endpoint on loopback, and somebody who names it by the environment alone
    name = provider.upper()
    with serving(Mind()) as served, home_at(tmp_path / "home") as newcomer:
        environment = {f"{name}_BASE_URL": served.url(provider), f"{name}_API_KEY": KEY}
        # when they play the demo with that agent
        answer = newcomer.types(
            "demo", "--agent", provider, "--headless", "--json", "--seed", "3", timeout_s=DEMO_WITHIN_S,
            environment=environment,
        )  # fmt: skip
        # then it ends verified at the first attempt, by a change that the model made
        assert answer.code == 0, answer.stderr[-6000:]
        shown = newcomer.types("ticket", "show", "INF-1", "--json").document
        story = newcomer.types("ticket", "explain", "INF-1").stdout
        assert answer.document["outcome"] == "resolved" and answer.document["attempts"] == 1
        assert shown["attempts"][0]["agent"] == provider
        assert shown["cost"]["tokens_in"] == 100 * len(served.requests) and shown["cost"]["usd"] > 0
        # and the key is in no file of the home, and in nothing that was printed
        assert list(files_that_hold(KEY, newcomer.home)) == []
        assert KEY not in answer.stdout + answer.stderr + story
        record_property(f"{provider}_requests", len(served.requests))
        for figure in ("fault_to_deploy_s", "fault_to_verified_s", "overhead_s"):
            record_property(f"{provider}_{figure}", round(answer.document[figure], 3))
