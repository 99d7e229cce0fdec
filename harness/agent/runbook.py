"""The runbook agent: walks a decision tree over what was seen so far and names the next action. Pure; touches nothing.

A runbook is data (``runbooks/*.yaml``). The agent keeps no state: it walks the tree from its start over the recorded
turns, and the first question without an answer is the next action. So it resumes after a crash wherever it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from harness.core.action import Action, Turn
from harness.core.bisect import Found, Measure, Measurements, NoDifference, Scales, Skipped, next_step
from harness.core.climb import Compare, Hill, Pair, Top
from harness.core.climb import next_step as next_pair
from harness.core.criteria import Condition
from harness.core.declaration import Declaration
from harness.core.errors import Broken, Invalid

MISSING = "missing"


class When(Declaration):
    """A test on what was seen.

    Of ``path`` into the step's own answer, or of a ``value`` made from any step's or the ticket's (``$step.path``, or
    text with ``{step.path}``). Either ``is`` a condition (``<= 10%``), ``missing`` or a literal, or ``among`` or
    ``not_among`` a list, ``$step.path``.
    """

    path: str | None = None
    value: str | None = None
    is_: str | bool | None = Field(default=None, alias="is")
    among: str | None = None
    not_among: str | None = None

    @model_validator(mode="after")
    def _one_of_each(self) -> When:
        if (self.path is None) == (self.value is None):
            raise ValueError("a test has either `path` or `value`")
        if sum(test is not None for test in (self.is_, self.among, self.not_among)) != 1:
            raise ValueError("a test has one of `is`, `among` and `not_among`")
        return self

    def holds(self, name: str, answers: Mapping[str, Any]) -> bool:
        """Whether what was seen up to step ``name`` satisfies it; a number that is not there is only ``missing``."""
        value = look_up(answers[name], self.path) if self.path is not None else _seen(str(self.value), answers)
        if listed := self.among or self.not_among:
            return (value in _resolve(listed, answers)) == (self.among is not None)
        if self.is_ == MISSING:
            return value is None
        if isinstance(self.is_, bool) or isinstance(value, (bool, str)):
            return bool(value == self.is_)
        if value is None:
            return False
        return bool(Condition.parse(str(self.is_)).holds(float(value)))


def _one_or_more(given: Any) -> Any:
    return [given] if isinstance(given, (dict, str)) else given


class Branch(Declaration):
    """Where to go on when every test of ``when`` holds; without one always."""

    when: Annotated[tuple[When, ...], BeforeValidator(_one_or_more)] = ()
    go: str


class Bisect(Declaration):
    """Find the first bad of ``commits`` (oldest first, after ``good``) with a declared probe, one commit per turn."""

    probe: str
    good: str
    commits: str
    found: str
    no_difference: str


class Climb(Declaration):
    """Find a better value of the tunable that an earlier step read (``setting``), one pair of measurements a turn."""

    setting: str
    found: str
    within_noise: str


class Step(Declaration):
    """One node of the tree: a tool call with branches on its answer, a bisection or a climb.

    A call that ends the session has no branches.
    """

    why: str
    call: str | None = None
    with_: dict[str, Any] = Field(default={}, alias="with")
    bisect: Bisect | None = None
    climb: Climb | None = None
    branches: tuple[Branch, ...] = ()

    @model_validator(mode="after")
    def _one_of_three(self) -> Step:
        if sum(part is not None for part in (self.call, self.bisect, self.climb)) != 1:
            raise ValueError("a step has one of `call`, `bisect` and `climb`")
        return self


class Matches(Declaration):
    """The tickets a runbook is for: kind of signal and the ticket's first metric, one of these, or any.

    ``sort``: of opportunities, ``trend``, ``margin`` or ``slower``; that of a tunable has none.
    """

    signal: Literal["slo", "invariant", "anomaly", "opportunity", "no_data"]
    metric: Annotated[tuple[str, ...] | None, BeforeValidator(_one_or_more)] = None

    sort: Literal["trend", "margin", "slower"] | None = None

    def fits(self, signal: str, sort: str | None, metric: str) -> bool:
        """Whether a ticket with this kind and sort of signal and this first metric is one of them."""
        return self.signal == signal and self.sort == sort and (self.metric is None or metric in self.metric)


class Runbook(Declaration):
    """A machine-readable decision tree."""

    runbook: str
    purpose: str
    matches: Matches
    start: str
    steps: dict[str, Step]

    @model_validator(mode="after")
    def _targets_exist(self) -> Runbook:
        for name, step in self.steps.items():
            targets = [branch.go for branch in step.branches]
            if step.bisect:
                targets += [step.bisect.found, step.bisect.no_difference]
            if step.climb:
                targets += [step.climb.found, step.climb.within_noise]
            for target in targets:
                if target not in self.steps:
                    raise ValueError(
                        f"steps.{name} goes to `{target}`, which is no step; steps: {', '.join(self.steps)}"
                    )
        if self.start not in self.steps:
            raise ValueError(f"start `{self.start}` is no step")
        return self


def choose(runbooks: Sequence[Runbook], signal: str | None, metric: str) -> Runbook | None:
    """The runbook for a ticket raised by ``signal`` (``slo:latency``) whose first criterion is on ``metric``."""
    kind, _, name = (signal or "").partition(":")
    sort = name.partition(":")[0] if kind == "opportunity" and ":" in name else None
    return next((book for book in runbooks if book.matches.fits(kind, sort, metric)), None)


def next_action(
    book: Runbook, ticket: Mapping[str, Any], turns: Sequence[Turn], probes: Mapping[str, Scales]
) -> Action:
    """The action that the tree asks for after these turns.

    Args:
        ticket: facts that arguments may refer to as ``$ticket.…``.
        probes: probe name → how each of its measures tells good from bad (from the manifest).

    Raises:
        Broken: the turns are not a walk of this tree (another runbook, or it changed under the session).
        Invalid: the tree refers to something that the answers don't hold.
    """
    answers: dict[str, Any] = {"ticket": ticket}
    ahead = iter(turns)
    name = book.start
    while True:
        step = book.steps[name]
        if step.bisect is not None:
            outcome = _bisect(book, name, step.bisect, answers, ahead, probes)
            if isinstance(outcome, Action):
                return outcome
            answers[name], name = outcome
            continue
        if step.climb is not None:
            climbed = _climb(book, name, step.climb, answers, ahead)
            if isinstance(climbed, Action):
                return climbed
            answers[name], name = climbed
            continue
        wanted = Action(tool=str(step.call), arguments=_resolve(step.with_, answers), why=_fill(step.why, answers))
        turn = next(ahead, None)
        if turn is None:
            return wanted
        _same(book, name, wanted, turn)
        answers[name] = {**turn.observation.body, "ok": turn.observation.ok}
        if not step.branches:
            raise Broken(f"runbook {book.runbook}: step {name} ended the session, yet another action is asked for")
        name = _branch(book, name, step, answers)


def _bisect(
    book: Runbook,
    name: str,
    bisect: Bisect,
    answers: Mapping[str, Any],
    ahead: Iterator[Turn],
    probes: Mapping[str, Scales],
) -> Action | tuple[dict[str, Any], str]:
    good = _resolve(bisect.good, answers)
    commits = [good, *(entry["commit"] for entry in _resolve(bisect.commits, answers))]
    measured: dict[str, list[Mapping[str, Sequence[float]]] | Skipped] = {}
    if bisect.probe not in probes:
        raise Invalid(
            f"runbook {book.runbook}: steps.{name}.bisect.probe: `{bisect.probe}` is not declared by the service"
        )
    while True:
        match next_step(commits, _frozen(measured), probes[bisect.probe]):
            case Measure(commit=commit):
                wanted = Action(
                    tool="measure", arguments={"probe": bisect.probe, "commit": commit}, why="one step of the bisection"
                )
                turn = next(ahead, None)
                if turn is None:
                    return wanted
                _same(book, name, wanted, turn)
                _note(measured, commit, turn)
            case Found() as found:
                return {
                    "commit": found.commit, "measure": found.measure, "good": found.good, "bad": found.bad,
                    "threshold": found.threshold, "measured": len(measured),
                }, bisect.found  # fmt: skip
            case NoDifference(reason=reason):
                return {"reason": reason, "measured": len(measured)}, bisect.no_difference


def _climb(
    book: Runbook, name: str, climb: Climb, answers: Mapping[str, Any], ahead: Iterator[Turn]
) -> Action | tuple[dict[str, Any], str]:
    setting = _resolve(climb.setting, answers)
    hill = Hill(
        start=setting["value"], low=setting["low"], high=setting["high"], factor=setting["factor"],
        margin=setting["margin"], lower_is_better=setting["lower_is_better"],
        seed=f"{answers['ticket']['id']}/{answers['ticket']['failed_count']}",
    )  # fmt: skip
    pairs: list[Pair] = []
    while True:
        match next_pair(hill, pairs):
            case Compare() as compare:
                arguments = {"tunable": setting["name"], **asdict(compare)}
                why = f"pair {compare.pair}: is {compare.challenger} better than {compare.in_force}?"
                wanted = Action(tool="compare_values", arguments=arguments, why=why)
                turn = next(ahead, None)
                if turn is None:
                    return wanted
                _same(book, name, wanted, turn)
                seen = turn.observation.body if turn.observation.ok else {}
                pairs.append(
                    Pair(compare.challenger, compare.in_force, seen.get("of_challenger"), seen.get("of_in_force"))
                )
            case Top(value=value, comparisons=comparisons):
                told = "; ".join(f"{one.challenger} against {one.in_force}: {one.reason}" for one in comparisons)
                gain = 1.0
                for one in comparisons:
                    if one.won and one.gain is not None:
                        gain *= 1 - one.gain if hill.lower_is_better else 1 + one.gain
                seen = {"value": value, "start": hill.start, "pairs": len(pairs), "told": told or "there is no other",
                        "by": f"{abs(1 - gain):.0%}"}  # fmt: skip
                return seen, climb.found if value != hill.start else climb.within_noise


def _frozen(measured: Mapping[str, list[Mapping[str, Sequence[float]]] | Skipped]) -> Measurements:
    return {commit: value if isinstance(value, Skipped) else tuple(value) for commit, value in measured.items()}


def _note(measured: dict[str, list[Mapping[str, Sequence[float]]] | Skipped], commit: str, turn: Turn) -> None:
    if not turn.observation.ok:
        measured[commit] = Skipped(str(turn.observation.body.get("reason", "could not be measured")))
        return
    so_far = measured.setdefault(commit, [])
    if isinstance(so_far, list):
        so_far.append(turn.observation.body["measures"])


def _same(book: Runbook, name: str, wanted: Action, turn: Turn) -> None:
    if (turn.action.tool, turn.action.arguments) != (wanted.tool, wanted.arguments):
        raise Broken(
            f"runbook {book.runbook}: at step {name} {turn.action.tool} was done, yet the tree asks for {wanted.tool}"
        )


def _branch(book: Runbook, name: str, step: Step, answers: Mapping[str, Any]) -> str:
    for branch in step.branches:
        if all(test.holds(name, answers) for test in branch.when):
            return branch.go
    raise Invalid(f"runbook {book.runbook}: steps.{name}.branches: none fits the answer; end with one without `when`")


def look_up(value: Any, path: str) -> Any:
    """The value at a dotted path (``changes.0.before``; negative indexes count from the end); None when absent."""
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, Sequence) and not isinstance(value, str) and part.lstrip("-").isdigit():
            index = int(part)
            value = value[index] if -len(value) <= index < len(value) else None
        else:
            return None
    return value


def _seen(text: str, answers: Mapping[str, Any]) -> Any:
    """What ``$step.path`` stands for, None when it is not there; any other text is filled in."""
    return look_up(answers, text[1:]) if text.startswith("$") else _fill(text, answers)


def _resolve(value: Any, answers: Mapping[str, Any]) -> Any:
    """``$step.path`` becomes the value found there; text with ``{step.path}`` is filled in."""
    if isinstance(value, dict):
        return {key: _resolve(item, answers) for key, item in value.items()}
    if isinstance(value, str) and value.startswith("$"):
        if (found := look_up(answers, value[1:])) is None:
            raise Invalid(f"runbook: `{value}` is not in what was seen")
        return found
    return _fill(value, answers) if isinstance(value, str) else value


def _fill(text: str, answers: Mapping[str, Any]) -> str:
    pieces = text.split("{")
    filled = pieces[0]
    for piece in pieces[1:]:
        path, _, rest = piece.partition("}")
        filled += f"{look_up(answers, path)}{rest}"
    return filled
