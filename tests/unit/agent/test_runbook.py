"""The runbook agent: a pure walk over what was seen. Reads the runbooks of this checkout, changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.adapters.declarations import read_yaml
from harness.agent.runbook import Runbook, choose, look_up, next_action
from harness.agent.toolbox import TOOLS
from harness.bootstrap import CHECKOUT
from harness.core.action import Action, Observation, Turn
from harness.core.bisect import Difference, Ratio
from harness.core.errors import Broken, Invalid

DOCUMENT = read_yaml(CHECKOUT / "runbooks" / "slow-requests.yaml")
BOOK = Runbook.parse(DOCUMENT, "slow-requests.yaml")
FRESH = {"failed": [], "failed_count": 0, "tried": [], "story": "Nothing was tried before."}
TICKET = {"id": "INF-1", "service": "ratelimiter", "metric": "slow_share", "condition": "< 10%", "age_s": 1, **FRESH}
PROBES = {"latency": {"wall_ms": Ratio(5.0)}, "correctness": {"denied": Difference(0.02)}}
COMMITS = [f"c{number}" for number in range(8)]

Answer = Callable[[Action], Observation]


def service(bad_from: int | None = 3, configuration: tuple[str, ...] = (), **instead: Observation) -> Answer:
    """The answers of a world in which commits from this one on are bad; ``instead``: by tool."""

    def answer(action: Action) -> Observation:
        if action.tool in instead:
            return instead[action.tool]
        match action.tool:
            case "query_metric":
                return Observation(ok=True, body={"value": 0.9})
            case "service_health":
                return Observation(ok=True, body={"unhealthy": [], "unhealthy_count": 0})
            case "list_events":
                return Observation(ok=True, body={"count": 3, "before": "good", "after": COMMITS[-1]})
            case "git_log":
                listing = [{"commit": commit} for commit in COMMITS]
                own = {"configuration": list(configuration), "configuration_count": len(configuration)}
                return Observation(ok=True, body={"count": len(listing), "commits": listing, **own})
            case "measure":
                commit = action.arguments["commit"]
                bad = bad_from is not None and commit != "good" and COMMITS.index(commit) >= bad_from
                measures = {"wall_ms": [120.0 if bad else 12.0], "denied": [0.4 if bad else 0.0]}
                return Observation(ok=True, body={"measures": measures})
            case "revert_commit" | "revert_release":
                return Observation(ok=True, body={"commit": "revert"}, commit="revert")
        return Observation(ok=True, body={})

    return answer


def session(answer: Answer, book: Runbook = BOOK, ticket: Mapping[str, Any] = TICKET) -> list[Turn]:
    """Every turn up to the one that ends the session."""
    turns: list[Turn] = []
    while not turns or TOOLS[turns[-1].action.tool].effect != "end":
        action = next_action(book, ticket, turns, PROBES)
        turns.append(Turn(action, answer(action)))
    return turns


@given(st.integers(0, len(COMMITS) - 1))
def test_it_finds_the_first_bad_commit_wherever_it_is_and_takes_back_just_that(bad_from: int) -> None:
    turns = session(service(bad_from))
    (revert,) = [turn.action for turn in turns if turn.action.tool == "revert_commit"]
    assert revert.arguments["commit"] == COMMITS[bad_from]
    assert turns[-1].action.tool == "submit_change"
    assert "from 12.0 to 120.0" in turns[-1].action.arguments["summary"]
    assert sum(turn.action.tool == "measure" for turn in turns) <= 8


@pytest.mark.parametrize("bad_from", range(len(COMMITS)))
def test_it_goes_on_the_same_wherever_it_was_cut_off(bad_from: int) -> None:
    turns = session(service(bad_from))
    for done, turn in enumerate(turns):
        assert next_action(BOOK, TICKET, turns[:done], PROBES) == turn.action


FAILED = Runbook.parse(read_yaml(CHECKOUT / "runbooks" / "failed-requests.yaml"), "failed-requests.yaml")
DENIED = TICKET | {"metric": "wrong_denial_share", "condition": "< 1%"}


def after(*tried: str, ticket: Mapping[str, Any] = DENIED) -> dict[str, Any]:
    """The facts of a ticket of which earlier attempts took these back, in vain."""
    return {**ticket, "failed_count": len(tried), "tried": list(tried), "story": f"Tried: {', '.join(tried)}."}


def taken_back(turns: list[Turn]) -> list[str]:
    reverts = [turn.action for turn in turns if TOOLS[turn.action.tool].effect == "work"]
    return [revert.arguments.get("commit") or revert.tool for revert in reverts if revert.tool != "measure"]


def test_the_one_change_of_configuration_is_taken_back_first_and_nothing_is_measured() -> None:
    turns = session(service(5, ("c2",)), FAILED, DENIED)
    assert taken_back(turns) == ["c2"]
    assert "measure" not in [turn.action.tool for turn in turns]
    assert turns[-1].action.tool == "submit_change"


@pytest.mark.parametrize(
    ("ticket", "configuration"),
    [(DENIED | {"metric": "error_share"}, ("c2",)), (DENIED, ("c1", "c2")), (DENIED, ()), (after("c2"), ("c2",))],
    ids=["errors", "two of them", "none", "tried before"],
)
def test_where_that_does_not_tell_it_measures(ticket: Mapping[str, Any], configuration: tuple[str, ...]) -> None:
    turns = session(service(5, configuration), FAILED, ticket)
    assert taken_back(turns) == ["c5"]
    assert "denied of the probe rose from 0.0 to 0.4" in turns[-1].action.arguments["summary"]


@pytest.mark.parametrize(("book", "metric"), [(FAILED, "error_share"), (BOOK, "slow_share")])
def test_when_the_first_bad_commit_did_not_help_the_whole_release_goes(book: Runbook, metric: str) -> None:
    turns = session(service(5), book, after("c5", ticket=TICKET | {"metric": metric}))
    assert taken_back(turns) == ["revert_release"]
    release = turns[-2].action.arguments
    assert (release["since"], release["until"]) == ("good", COMMITS[-1])
    assert turns[-1].action.tool == "submit_change"


@pytest.mark.parametrize(("book", "metric"), [(FAILED, "error_share"), (BOOK, "slow_share")])
def test_when_nothing_helped_a_human_is_told_what_was_tried(book: Runbook, metric: str) -> None:
    turns = session(service(5), book, after("c5", f"good..{COMMITS[-1]}", ticket=TICKET | {"metric": metric}))
    assert taken_back(turns) == []
    assert turns[-1].action.tool == "call_for_help"
    assert "Tried: c5, good..c7." in turns[-1].action.arguments["question"]


SILENT = Observation(ok=True, body={"value": None})
CALM = Observation(ok=True, body={"value": 0.02})
SICK = Observation(ok=True, body={"unhealthy": ["n2"], "unhealthy_count": 1})
NONE = Observation(ok=True, body={"count": 0})
REFUSED = Observation(ok=False, body={"reason": "later changes stand in the way in server.py"})


@pytest.mark.parametrize(
    ("answer", "tool", "words"),
    [
        (service(query_metric=SILENT), "call_for_help", "There is no data for slow_share"),
        (service(query_metric=CALM), "nothing_to_change", "slow_share is 0.02"),
        (service(service_health=SICK), "call_for_help", "['n2']"),
        (service(list_events=NONE), "call_for_help", "no release of the service changed"),
        (service(git_log=NONE), "call_for_help", "no release of the service changed"),
        (service(None), "call_for_help", "the probe sees no difference to good"),
        (service(revert_commit=REFUSED), "call_for_help", "later changes stand in the way in server.py"),
    ],
)
def test_where_it_can_do_nothing_it_says_why(answer: Answer, tool: str, words: str) -> None:
    last = session(answer)[-1].action
    assert last.tool == tool
    assert words in " ".join(last.arguments.values())


def test_commits_that_cannot_be_measured_are_stepped_around() -> None:
    answers = service(4)

    def answer(action: Action) -> Observation:
        if action.tool == "measure" and action.arguments["commit"] in ("c3", "c5"):
            return Observation(ok=False, body={"reason": "does not build"})
        return answers(action)

    (revert,) = [turn.action for turn in session(answer) if turn.action.tool == "revert_commit"]
    assert revert.arguments["commit"] == "c4"


def test_a_record_that_is_not_a_walk_of_this_tree_stops_everything() -> None:
    turns = session(service())
    with pytest.raises(Broken, match="at step nodes git_log was done, yet the tree asks for service_health"):
        next_action(BOOK, TICKET, [turns[0], turns[3]], PROBES)
    with pytest.raises(Broken, match="step submit ended the session"):
        next_action(BOOK, TICKET, turns, PROBES)


def test_a_probe_that_the_service_does_not_declare_is_named() -> None:
    with pytest.raises(Invalid, match=r"steps\.find\.bisect\.probe: `latency` is not declared"):
        next_action(BOOK, TICKET, session(service())[:4], {})


def test_an_answer_for_which_there_is_no_branch_is_named() -> None:
    document = deepcopy(DOCUMENT)
    document["steps"]["burning"]["branches"] = document["steps"]["burning"]["branches"][:1]
    book = Runbook.parse(document, "slow-requests.yaml")
    with pytest.raises(Invalid, match=r"steps\.burning\.branches: none fits"):
        next_action(book, TICKET, session(service())[:1], PROBES)


def test_it_is_chosen_by_kind_of_signal_and_first_metric() -> None:
    assert choose([BOOK], "slo:latency", "slow_share") is BOOK
    assert choose([BOOK], "slo:latency", "error_share") is None
    assert choose([BOOK, FAILED], "slo:availability", "error_share") is FAILED
    assert choose([BOOK], "invariant:latency", "slow_share") is None
    assert choose([BOOK], None, "slow_share") is None


def test_every_call_of_every_runbook_is_a_tool_and_ends_are_where_branches_end() -> None:
    for path in sorted((CHECKOUT / "runbooks").glob("*.yaml")):
        for name, step in Runbook.parse(read_yaml(path), path.name).steps.items():
            if step.call is not None:
                assert step.call in TOOLS, f"{path.name}: {name}"
                assert (TOOLS[step.call].effect == "end") == (not step.branches), f"{path.name}: {name}"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("start", "nowhere", "start `nowhere` is no step"),
        ("steps.calm.branches", [{"go": "nowhere"}], "steps.calm goes to `nowhere`, which is no step"),
        ("steps.find.bisect.found", "nowhere", "steps.find goes to `nowhere`"),
        ("steps.find.call", "measure", "a step has one of `call`, `bisect` and `climb`"),
        ("steps.calm.call", None, "a step has one of `call`, `bisect` and `climb`"),
        ("steps.calm.cal", "x", "cal"),
        ("matches.signal", "rumour", "matches.signal"),
        ("steps.calm.branches", [{"when": {"is": "missing"}, "go": "calm"}], "a test has either `path` or `value`"),
        ("steps.calm.branches", [{"when": {"path": "a"}, "go": "calm"}], "one of `is`, `among` and `not_among`"),
    ],
)
def test_a_bad_runbook_is_refused_with_the_place(path: str, value: Any, said: str) -> None:
    document = deepcopy(DOCUMENT)
    *outer, last = path.split(".")
    inner = document
    for step in outer:
        inner = inner[step]
    inner[last] = value
    with pytest.raises(Invalid) as refused:
        Runbook.parse(document, "slow-requests.yaml")
    assert "slow-requests.yaml" in str(refused.value) and said in str(refused.value)


def test_paths_reach_into_answers_and_end_in_nothing_where_there_is_nothing() -> None:
    answer = {"changes": [{"before": "a"}, {"before": "b"}], "count": 2}
    assert look_up(answer, "changes.-1.before") == "b"
    assert [look_up(answer, path) for path in ("changes.5.before", "count.x", "none", "changes.x")] == [None] * 4
