"""`harness ticket explain` in words: questions, what answered them, and the evidence. Prints; decides nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from harness.cli.render import condition_unit, number, p_value, safe, short_hashes
from harness.core.plain_text import one_line

HEADINGS = {
    "ticket": "Why this ticket?", "change": "Why this change?", "test": "Why did TEST {}?",
    "canary": "Why did CANARY {}?", "deploy": "Why did DEPLOY {}?", "verify": "Why did VERIFY {}?",
}  # fmt: skip
ENDINGS = {
    "let it through": "let it through", "stopped it": "stop it", "took it back": "take it back",
    "the way back failed": "fail to take it back", "not enough, and kept": "find it too little, and keep it",
}  # fmt: skip
BODY_CHARS = 600
INDENT = " " * 12


def explained(document: Mapping[str, Any]) -> Iterator[str]:
    """Every line: a heading for each question, a line for each event, and what it rests on below."""
    decisions: Sequence[Mapping[str, Any]] = document["decisions"]
    several = max((one["attempt"] for one in decisions), default=0) > 1
    asked: tuple[int, str] | None = None
    for number_, one in enumerate(decisions):
        if (one["attempt"], one["question"]) != asked:
            asked = (one["attempt"], one["question"])
            yield from ("", _heading(asked, decisions[number_:], several))
        why = short_hashes(one_line(one["why"]))
        yield f"#{one['position']:<5} {_clock(one['at'])} {one_line(one['actor']):<14} {why}"
        for item in one["evidence"]:
            yield from (f"{INDENT}{one_line(line)}" for line in _lines(item))


def _heading(asked: tuple[int, str], ahead: Sequence[Mapping[str, Any]], several: bool) -> str:
    """The question, with the answer that this attempt got to it."""
    attempt, question = asked
    answers = [one["decided"] for one in ahead if (one["attempt"], one["question"]) == asked and one["decided"]]
    ending = ENDINGS.get(answers[-1], "end so") if answers else "not end yet"
    return HEADINGS[question].format(ending) + (f" (attempt {attempt})" if several and attempt else "")


def _lines(item: Mapping[str, Any]) -> list[str]:
    match item["kind"]:
        case "measurement":
            return _measurement(item)
        case "burn":
            target = "" if item["target"] is None else f", objective {number(item['target'], '%')}"
            return [f"burn rate {number(item['rate'])} over {item['window_s']:g} s{target}"]
        case "value":
            return [f"{safe(item['name'])}: {number(item['value'])}"]
        case "rules":
            return [f"judged by rules {item['sha256'][:12]}; {item['attempts_allowed']} attempts allowed"]
        case "check":
            return _check(item)
        case "plan":
            return [f"planned: {item['planned_per_arm']} requests an arm before it may end"]
        case "compared":
            return [f"{item['metric']} {item['told']}"]
        case "left":
            return [_left(item)]
        case "limit":
            return [f"{item['metric']} may be {number(item['allowed'], '%')} while it is watched"]
        case "error_budget_spend":
            return [
                f"{item['objective']} spent {item['spent']:.2%} of its error budget, at most "
                f"{number(item['at_most'], '%')}: {item['bad']} of {item['total']} events bad, "
                f"{item['before_bad']} of {item['before_total']} before"
            ]
        case "count":
            return []  # the line of the look has them
        case "verdict":
            return [_verdict(item)]
        case "change":
            commits = f"commit {item['commit'][:10]} on {item['base'][:10]}"
            return [f"{commits}, branch {safe(item['branch'])}, diff {item['diff']}"]
        case "wait":
            span = f"{_clock(item['from'])} to {_clock(item['to'])}"
            return [f"waited {item['seconds']:.1f} s for {item['for']} «{safe(item['what'])}», {span}"]
    written = safe(json.dumps(item["body"], ensure_ascii=False))
    return [short_hashes(written if len(written) <= BODY_CHARS else f"{written[:BODY_CHARS]}… (whole: {item['blob']})")]


def _left(item: Mapping[str, Any]) -> str:
    """``slow_share < 10% is for INF-2 to restore: 95 % before this attempt, now 95.4 %: no worse``"""
    unit = condition_unit(item["condition"])
    before, now = number(item["before"]["value"], unit), number(item["now"]["value"], unit)
    word = {True: "no worse", False: "worse", None: "not measured"}[item["no_worse"]]
    wanted = f"{item['metric']} {safe(item['condition'])}"
    return f"{wanted} is for {item['to']} to restore: {before} before this attempt, now {now}: {word}"


def _measurement(item: Mapping[str, Any]) -> list[str]:
    unit = condition_unit(item.get("condition") or "")
    wanted = f", wanted {safe(item['condition'])}" if item.get("condition") else ""
    wanted += f" for {safe(item['duration'])}" if item.get("duration") else ""
    untold = ": not measured" if item["value"] is None else ": cannot be told"
    met = {True: ": met", False: ": not met", None: untold}[item["met"]] if "met" in item else ""
    if item["query"] is None:
        return [f"{item['metric']} {item['role']}: not measured{wanted}{met}"]
    samples = "" if item["samples"] is None else f" of {item['samples']} samples"
    window = f"{_clock(item['window_from'])} to {_clock(item['window_to'])}"
    return [
        f"{item['metric']} {item['role']}: {number(item['value'], unit)}{samples}, {window}{wanted}{met}",
        f"  query {safe(item['query'])}",
    ]


def _clock(moment: str) -> str:
    return datetime.fromisoformat(moment).strftime("%H:%M:%S.%f")[:-3]


def _check(item: Mapping[str, Any]) -> list[str]:
    tests = "" if item["tests_passed"] is None else f", {item['tests_passed']} tests passed"
    word = "passed" if item["passed"] else "failed"
    ended = f"exit {item['exit_code']} after {item['seconds']:.1f} s{tests}"
    if item["exit_code"] is None and not item["seconds"]:
        ended = "asked, not run"
    lines = [f"check {safe(item['name'])} {word}: {ended}; output {item['output']}"]
    return lines + [f"  | {line}" for line in safe(item["output_end"] or "").splitlines()]


def _verdict(item: Mapping[str, Any]) -> str:
    parts = [f"{item['metric']} as {item['role']}: {item['verdict']}, {item['reason'].replace('_', ' ')}"]
    if item["p_value"] is not None:
        parts.append(f"{p_value(item['p_value'])}, alpha {item['alpha']:g} over all metrics and looks")
    if item["effect"] is not None:
        parts.append(f"effect {item['effect']:+.3g}")
    if item["smallest_harm"] is not None:
        parts.append(f"a bad share of {number(item['smallest_harm'], '%')} would be seen 4 times in 5")
    look = item["decided_at_look"]
    parts.append(f"decided at look {look} of {item['looks']}" if look is not None else f"{item['looks']} looks")
    return "; ".join(parts)
