"""The week's document as Markdown. Escapes everything that the world wrote; decides and reads nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.cli.render import condition_unit, many, number, safe, short_hashes

OUTCOMES = {True: "met", False: "not met", None: "not measured"}


def markdown(document: Mapping[str, Any]) -> str:
    """The whole page; a quiet week is its heading and a line."""
    lines = [f"# Week {document['week']}", "", text(document["headline"])]
    if not document["calm"]:
        lines += _asks(document["asks"])
        lines += _changes("What changed, and why", document["changes"])
        lines += _changes("What was stopped or taken back", document["stopped"])
        lines += _rest(document)
        lines += _objectives(document["objectives"])
    lines += _other_hands(document["other_hands"])
    if not document["calm"]:
        lines += _events(document["events"])
    return "\n".join([*lines, "", anchor(document), ""])


def text(written: str) -> str:
    """Text of the world in a line of its own: nothing in it is markup, a link or a new line."""
    one_line = short_hashes(" ".join(safe(written).split()))
    escaped = re.sub(r"([\\`*_{}\[\]<>#|~&!@$^])", r"\\\1", one_line)
    # what autolinkers look for
    escaped = re.sub(r":(?=//)", r"\\:", re.sub(r"(?i)\b(www)\.", r"\1\\.", escaped))
    return re.sub(r"^([-+=]|[0-9]+(?=[.)]))", r"\\\1", escaped) if not escaped[:1].isdigit() else escaped


def code(written: str) -> str:
    """Text of the world as inline code."""
    shown = " ".join(safe(written).split())
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    return f"{fence} {shown} {fence}" if "`" in shown else f"{fence}{shown}{fence}"


def at(*positions: int | None) -> str:
    """Links to the events that a claim rests on."""
    return " ".join(f"[#{position}](#e{position})" for position in positions if position is not None)


def anchor(document: Mapping[str, Any]) -> str:
    """What the page was made from."""
    ledger, redacted = document["ledger"], sum(document["redaction"].values())
    without = f", without {redacted} secrets that texts held" if redacted else ""
    return (
        f"*From the ledger alone, as it stood at event {ledger['head_position']}, hash {ledger['head_hash']}; "
        f"{ledger['events']} events of this week{without}. `harness ledger verify` checks it.*"
    )


def _asks(asks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if asks:
        yield from ("", "## What I could not do, and ask you", "")
    for one in asks:
        yield f"- **{text(one['ticket'])}** {text(one['title'])}: {text(one['question'])} {at(one['position'])}"
        yield f"  Answer with {code(one['answer'])}."


def _changes(heading: str, changes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if changes:
        yield from ("", f"## {heading}")
    for one in changes:
        yield from _change(one)


def _change(one: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", f"### {text(one['ticket'])}, attempt {one['attempt']}: {text(one['summary'] or one['title'])}", "")
    signal, stop = one["signal"], one["stop"]
    if signal:
        yield f"- **Why:** {text(signal['reason'])} {at(signal['position'])}"
    yield f"- **Intent:** {text(one['title'])} {at(one['filed_position'])}"
    if one["predicted_effect"]:
        yield f"- **Expected:** {text(one['predicted_effect'])} {at(one['proposed_position'])}"
    if stop:
        back = f"; rolled back {at(stop['back_position'])}" if stop["back_position"] else ""
        how = "Taken back" if one["outcome"] == "reverted" else f"Stopped by {stop['stage'].upper()}"
        yield f"- **{how}:** {text(stop['reason'])} {at(stop['position'])}{back}"
    yield f"- **Gates:** {' · '.join(_gate(gate) for gate in one['gates'])}"
    yield f"- **Who approved:** {approvals(one)}"
    yield f"- **Time:** {_time(one)}"
    yield f"- **Cost:** {cost(one['cost'])}"
    if one["revert"]:
        yield f"- **To take it back:** {code(one['revert'])}"
    yield from _evidence(one["evidence"])
    if one["diff"]:
        yield from _diff(one)


def _gate(gate: Mapping[str, Any]) -> str:
    word = {True: "passed", False: "stopped it", None: "not reached"}[gate["passed"]]
    return f"{gate['stage']} {word} {at(gate['position'])}".strip()


def approvals(one: Mapping[str, Any]) -> str:
    """Who let the change through, in words."""
    people = [f"{text(each['by'])} {at(each['position'])}" for each in one["approved_by"]]
    return ", ".join(people) or "no person was asked; its gates let it through"


def cost(spent: Mapping[str, Any]) -> str:
    """What a ticket cost, in words."""
    if spent["tokens_in"] == spent["tokens_out"] == 0:
        return "nothing; no model was called"
    usd = "USD not known" if spent["usd"] is None else f"{spent['usd']:.2f} USD"
    tokens = ["?" if spent[name] is None else str(spent[name]) for name in ("tokens_in", "tokens_out")]
    return f"{usd}, {tokens[0]} tokens in and {tokens[1]} out"


def _time(one: Mapping[str, Any]) -> str:
    spent = ", ".join(f"{each['name']} {each['seconds']:.1f} s" for each in one["phases"] if each["seconds"])
    waited = sum(each["waiting_s"] for each in one["phases"])
    return f"{spent}; {waited:.1f} s of it waiting for evidence"


def _evidence(criteria: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not criteria:
        return
    yield from ("", "| criterion | before | at admission | after | |", "|---|---|---|---|---|")
    for one in criteria:
        unit = condition_unit(one["condition"])
        values = " | ".join(
            f"{_value(one[moment], unit)} {at(one[position])}"
            for moment, position in (
                ("before", "admitted_position"), ("at_admission", "admitted_position"), ("after", "verified_position")
            )
        )  # fmt: skip
        word = f"{OUTCOMES[one['met']]}{', left to ' + text(one['left_to']) if one['left_to'] else ''}"
        yield f"| {text(one['metric'])} {text(one['condition'])} | {values} | {word} |"


def _value(measured: Mapping[str, Any] | None, unit: str) -> str:
    return number(measured["value"] if measured else None, unit)


def _diff(one: Mapping[str, Any]) -> Iterator[str]:
    diff = one["diff"]
    shown = safe(diff["text"]).rstrip("\n")
    fence = "`" * max(3, max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    yield from ("", f"{text(changed(one))} {at(one['proposed_position'])}:", "")
    yield from (f"{fence}diff", shown, fence)
    if diff["left_out_chars"]:
        yield from ("", f"{diff['left_out_chars']} characters more are in {diff['blob']}.")


def changed(one: Mapping[str, Any]) -> str:
    """What the change is, in words: a commit with its size, or an action with its arguments."""
    if operation := one["operation"]:
        arguments = ", ".join(f"{name}={value}" for name, value in operation["parameters"].items())
        return f"action {operation['action']}({arguments})"
    diff = one["diff"]
    if diff is None:
        return f"commit {one['commit']}"
    return f"commit {one['commit']}, {many(diff['added'], 'line')} added, {diff['removed']} removed"


def _rest(document: Mapping[str, Any]) -> Iterator[str]:
    if document["without_change"]:
        yield from ("", "## Resolved without a change", "")
    for one in document["without_change"]:
        yield (
            f"- **{text(one['ticket'])}** {text(one['title'])}: {text(one['why'])} "
            f"{at(one['position'], one['verified_position'])}"
        )
    if document["refused"]:
        yield from ("", "## What was refused", "")
    for one in document["refused"]:
        reasons = "; ".join(map(text, one["reasons"]))
        yield f"- **{text(one['ticket'])}** {text(one['title'])}, by {text(one['by'])}: {reasons} {at(one['position'])}"
    if document["open"]:
        yield from ("", "## Still under way", "")
    for one in document["open"]:
        yield f"- **{text(one['ticket'])}** {one['state']}: {text(one['title'])} {at(one['position'])}"


def _objectives(objectives: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not objectives:
        return
    yield from ("", "## Objectives as they were seen", "", "| objective | looks by state | fired |", "|---|---|---|")
    for one in objectives:
        fired = "; ".join(f"{text(each['reason'])} {at(each['position'])}" for each in one["signals"]) or "never"
        yield f"| {text(one['name'])} | {looks(one['ticks'])} | {fired} |"


def looks(ticks: Mapping[str, int]) -> str:
    """How often each state was seen."""
    return ", ".join(f"{state} {count}" for state, count in sorted(ticks.items())) or "no heartbeat told"


def _other_hands(changes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if changes:
        yield from ("", "## What other hands changed", "")
    for one in changes:
        yield (
            f"- {code(one['actor'])} brought release {one['after'][:10]} in place of {one['before'][:10]} to "
            f"{text(', '.join(one['nodes']))} {at(*one['positions'])}"
        )


def _events(events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from ("", "## The events behind it", "")
    for one in events:
        told = text(one["told"]) or one["event"]
        yield f'- <a id="e{one["position"]}"></a>#{one["position"]} {one["at"]} {text(one["actor"])}: {told}'
        yield f"  ({one['event']}, hash {one['hash'][:12]})"
