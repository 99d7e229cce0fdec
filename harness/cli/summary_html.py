"""The week's document as one page that needs nothing else: no script, no font, no picture from anywhere.

Escapes everything that the world wrote; decides and reads nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

from harness.cli.chart import Bar, bars
from harness.cli.render import condition_unit, many, number, safe, short_hashes
from harness.cli.summary_markdown import changed, cost, looks
from harness.core.criteria import Compare, Condition

STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf8; --card: #fff; --ink: #1d2733; --faint: #5d6a78; --rule: #dde2e8;
  --bad: #b4400e; --good: #0d6e62; --plain: #7b8a99; --wait: #b9c6d3; --tint: #f0f3f6; }
@media (prefers-color-scheme: dark) { :root { --paper: #12171d; --card: #1a2129; --ink: #e4e9ee; --faint: #9aa8b6;
  --rule: #313b46; --bad: #f0885b; --good: #4cc2b0; --plain: #8795a3; --wait: #4a5866; --tint: #232c36; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 54rem; padding: 1.2rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.1rem; margin: 0; color: var(--faint); font-weight: 600; }
.lead { font-size: 1.5rem; line-height: 1.3; margin: .3rem 0 1.2rem; font-weight: 600; text-wrap: balance; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .7rem; }
h3 { font-size: 1.05rem; margin: 0 0 .6rem; line-height: 1.35; }
a { color: var(--faint); text-decoration: none; font: .78em/1 ui-monospace, monospace; white-space: nowrap; }
a:hover, a:focus { text-decoration: underline; }
:target { background: var(--tint); outline: 2px solid var(--good); }
article, .ask { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 1rem 1.1rem;
  margin: 0 0 1rem; }
.ask { border-left: 5px solid var(--bad); }
.tag { display: inline-block; font-size: .78rem; font-weight: 600; padding: .1rem .55rem; border-radius: 1rem;
  border: 1.5px solid currentColor; margin-right: .4rem; white-space: nowrap; }
.bad { color: var(--bad); fill: var(--bad); } .good { color: var(--good); fill: var(--good); }
.plain { color: var(--plain); fill: var(--plain); } .faint { color: var(--faint); fill: var(--faint); }
dl { display: grid; grid-template-columns: 8.5rem 1fr; gap: .35rem .8rem; margin: .6rem 0; }
dt { color: var(--faint); } dd { margin: 0; }
ol.gates { list-style: none; margin: .8rem 0; padding: 0; display: flex; flex-wrap: wrap; gap: .4rem; }
.gates li { border: 1px solid var(--rule); border-radius: 8px; padding: .15rem .6rem; font-size: .9rem; }
.chart { width: 100%; max-width: 34rem; display: block; margin: .8rem 0; font: 12px system-ui, sans-serif; }
.chart text { fill: var(--ink); } .chart text.faint { fill: var(--faint); } .chart .strong { font-weight: 600; }
.chart text { paint-order: stroke; stroke: var(--card); stroke-width: 4; }
.chart .limit { stroke: var(--ink); stroke-width: 1.2; stroke-dasharray: 4 3; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th { text-align: left; font-weight: 600; color: var(--faint); }
th, td { overflow-wrap: normal; }
th, td { padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
.time { display: grid; grid-template-columns: 4rem 1fr 4rem; gap: .15rem .6rem; align-items: center;
  font-size: .9rem; margin: .5rem 0; max-width: 34rem; }
.time span:nth-child(3n) { text-align: right; }
.track { display: flex; height: 12px; } .track i { background: var(--wait); } .track b { background: var(--bad); }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--faint); }
pre { background: var(--tint); border-radius: 8px; padding: .7rem; overflow-x: auto; font-size: .82rem;
  line-height: 1.4; max-height: 30rem; overflow-wrap: normal; }
code { font-size: .9em; background: var(--tint); border-radius: 4px; padding: .1em .35em; }
ins { color: var(--good); text-decoration: none; } del { color: var(--bad); text-decoration: none; }
.events li { font-size: .82rem; margin: .2rem 0; } .events { padding: 0; list-style: none; }
footer { margin-top: 2.5rem; font-size: .82rem; color: var(--faint); }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; gap: .1rem; } dd { margin-bottom: .5rem; }
  .lead { font-size: 1.25rem; } }
"""
GATES = {True: ("✓", "good"), False: ("✗", "bad"), None: ("–", "faint")}
OUTCOMES = {"stands": ("made and verified", "good"), "stopped": ("stopped", "bad"), "reverted": ("taken back", "bad")}
MET = {True: ("met", "good"), False: ("not met", "bad"), None: ("not measured", "faint")}


def page(document: Mapping[str, Any]) -> str:
    """The whole page."""
    week = text(document["week"])
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>Week {week}</title><style>{STYLE}</style></head><body>",
        f"<h1>{text(', '.join(document['services']) or 'Operations')}, week {week}</h1>",
        f'<p class="lead">{text(document["headline"])}</p>',
    ]
    if not document["calm"]:
        parts += _asks(document["asks"])
        told = {one["position"]: one["told"] for one in document["events"]}
        parts += _changes("What changed, and why", document["changes"], told)
        parts += _changes("What was stopped or taken back", document["stopped"], told)
        parts += _lists(document)
        parts += _objectives(document["objectives"])
    parts += _other_hands(document["other_hands"])
    parts += _trend(document["trend"]) if not document["calm"] else []
    parts += _events(document["events"])
    return "".join([*parts, _anchor(document), "</body></html>\n"])


def text(written: object) -> str:
    """Text of the world: shown as it is, never obeyed."""
    return escape(short_hashes(safe(str(written))), quote=True)


def at(*positions: int | None) -> str:
    """Links to the events that a claim rests on."""
    return " ".join(f'<a href="#e{position}">#{position}</a>' for position in positions if position is not None)


def _asks(asks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if asks:
        yield "<h2>What I could not do, and ask you</h2>"
    for one in asks:
        yield f'<div class="ask"><h3>{text(one["ticket"])}: {text(one["title"])}</h3>'
        yield f"<p>{text(one['question'])} {at(one['position'])}</p>"
        yield f'<p class="faint">After {many(one["attempts"], "attempt")}. '
        yield f"Answer with <code>{text(one['answer'])}</code></p></div>"


def _changes(heading: str, changes: Sequence[Mapping[str, Any]], told: Mapping[int, str]) -> Iterator[str]:
    if changes:
        yield f"<h2>{heading}</h2>"
    for one in changes:
        yield from _change(one, told)


def _change(one: Mapping[str, Any], told: Mapping[int, str]) -> Iterator[str]:
    word, tone = OUTCOMES[one["outcome"]]
    if one["attempt"] > 1 or one["stop"]:
        word += f", attempt {one['attempt']}"
    yield f'<article><h3><span class="tag {tone}">{word}</span> {_of(one)}</h3><dl>'
    if signal := one["signal"]:
        yield f"<dt>Why</dt><dd>{text(signal['reason'])} {at(signal['position'], one['filed_position'])}</dd>"
    if one["summary"]:
        did = "What was tried" if one["stop"] else "What was done"
        yield f"<dt>{did}</dt><dd>{text(one['summary'])} {at(one['proposed_position'])}</dd>"
        yield f"<dt>Expected</dt><dd>{text(one['predicted_effect'])} {at(one['proposed_position'])}</dd>"
    if stop := one["stop"]:
        back = f" Rolled back {at(stop['back_position'])}." if stop["back_position"] else ""
        how = "Taken back" if one["outcome"] == "reverted" else f"Stopped by {text(stop['stage'])}"
        yield f'<dt>{how}</dt><dd><span class="bad">{text(stop["reason"])}</span> '
        yield f"{at(stop['position'])}{back}</dd>"
    yield "</dl>"
    yield _chart(one)
    yield '<ol class="gates">'
    for gate in one["gates"]:
        sign, colour = GATES[gate["passed"]]
        yield f'<li><span class="{colour}">{sign}</span> {gate["stage"]} {at(gate["position"])}</li>'
    yield "</ol>"
    yield from _evidence(one["evidence"])
    yield f"<details><summary>Where the time went: {_waited(one)}</summary>"
    yield from _time(one["phases"])
    yield "</details>"
    yield from _reasoning(one, told)
    yield from _diff(one["diff"], changed(one))
    yield "<dl>"
    yield f"<dt>Who approved</dt><dd>{_approvals(one)}</dd><dt>Cost</dt><dd>{text(cost(one['cost']))}</dd>"
    if one["revert"]:
        yield f"<dt>To take it back</dt><dd><code>{text(one['revert'])}</code></dd>"
    if one["operation"] and one["outcome"] == "stands":
        yield "<dt>To take it back</dt><dd>by another action: <code>harness action list</code></dd>"
    yield f"<dt>All of it</dt><dd><code>harness ticket explain {text(one['ticket'])}</code></dd></dl></article>"


def _approvals(one: Mapping[str, Any]) -> str:
    people = [f"{text(each['by'])} {at(each['position'])}" for each in one["approved_by"]]
    return ", ".join(people) or "no person was asked; its gates let it through"


def _chart(one: Mapping[str, Any]) -> str:
    """The ticket's own metric from before the signal to after the change, the canary's two arms included."""
    if not one["evidence"]:
        return ""
    own, arms = one["evidence"][0], one["arms"]
    unit = condition_unit(own["condition"])
    condition = Condition.parse(own["condition"])
    limit = condition.limit.base if isinstance(condition, Compare) else None

    def bar(label: str, value: float | None) -> Bar:
        holds = condition.holds(value, (own["before"] or {}).get("value"))
        tone = {True: "good", False: "bad", None: "plain"}[holds]
        return Bar(label, value, number(value, unit), tone)

    rows = [bar("before", (own["before"] or {}).get("value"))]
    rows.append(bar("at admission", (own["at_admission"] or {}).get("value")))
    if arms and arms["metric"] == own["metric"]:
        rows += [bar("canary, without change", arms["baseline"]), bar("canary, with change", arms["canary"])]
    after = bar("after", (own["after"] or {}).get("value"))
    rows.append(replace(after, tone={True: "good", False: "bad", None: "plain"}[own["met"]]))
    title = f"{safe(own['metric'])}, wanted {safe(own['condition'])}"
    return f'<p class="faint">{text(title)}</p>' + bars(title, rows, limit=limit, limit_label=safe(own["condition"]))


def _evidence(criteria: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not criteria:
        return
    yield '<div class="scroll"><table><tr><th>criterion<th>before<th>at admission<th>after<th></tr>'
    for one in criteria:
        unit = condition_unit(one["condition"])
        word, tone = MET[one["met"]]
        word += f", left to {text(one['left_to'])}" if one["left_to"] else ""
        yield f"<tr><td>{text(one['metric'])} {text(one['condition'])} {at(one['admitted_position'])}"
        for moment in ("before", "at_admission", "after"):
            yield f"<td>{text(_measured(one[moment], unit))}"
        yield f'<td><span class="{tone}">{word}</span> {at(one["verified_position"])}</tr>'
    yield "</table></div>"


def _measured(one: Mapping[str, Any] | None, unit: str) -> str:
    if one is None or one["value"] is None:
        return "not measured"
    samples = "" if one["samples"] is None else f" of {one['samples']}"
    return f"{number(one['value'], unit)}{samples}"


def _waited(one: Mapping[str, Any]) -> str:
    waited = sum(each["waiting_s"] for each in one["phases"])
    total = sum(each["seconds"] for each in one["phases"])
    return f"{total:.0f} s since the cause at the earliest, {waited:.0f} s of it waiting for evidence"


def _time(phases: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    longest = max((each["seconds"] for each in phases), default=0) or 1
    yield '<div class="time">'
    for each in phases:
        waiting = each["waiting_s"] / longest * 100
        rest = max(each["seconds"] - each["waiting_s"], 0) / longest * 100
        yield f'<span>{text(each["name"])}</span><span class="track"><i style="width:{waiting:.1f}%"></i>'
        yield f'<b style="width:{rest:.1f}%"></b></span><span>{each["seconds"]:.1f} s</span>'
    yield '</div><p class="faint">Grey: waiting for evidence. Coloured: everything else.</p>'


def _reasoning(one: Mapping[str, Any], told: Mapping[int, str]) -> Iterator[str]:
    if steps := one["reasoning_positions"]:
        runbook = f", by runbook {text(one['runbook'])}" if one["runbook"] else ""
        yield f"<details><summary>The agent's reasoning: {many(len(steps) // 2, 'step')}{runbook}</summary>"
        yield '<ol class="events">'
        yield from (f"<li>{text(told.get(step, ''))} {at(step)}</li>" for step in steps)
        yield "</ol></details>"


def _diff(diff: Mapping[str, Any] | None, what: str) -> Iterator[str]:
    if diff is None:
        return
    yield f"<details><summary>The change: {text(what)}</summary><pre>"
    for line in safe(diff["text"]).splitlines():
        mark = {"+": "ins", "-": "del"}.get(line[:1])
        yield f"<{mark}>{escape(line)}</{mark}>\n" if mark else f"{escape(line)}\n"
    yield "</pre>"
    if diff["left_out_chars"]:
        yield f"<p>{diff['left_out_chars']} characters more are in {escape(diff['blob'])}.</p>"
    yield "</details>"


def _lists(document: Mapping[str, Any]) -> Iterator[str]:
    yield from _list(
        "Resolved without a change",
        [
            f"{_of(one)}: {text(one['why'])} {at(one['position'], one['verified_position'])}"
            for one in document["without_change"]
        ],
    )
    yield from _list(
        "What was refused",
        [
            f"{_of(one)}, by {text(one['by'])}: {text('; '.join(one['reasons']))} {at(one['position'])}"
            for one in document["refused"]
        ],
    )
    yield from _list(
        "Still under way", [f"{_of(one)}: {text(one['state'])} {at(one['position'])}" for one in document["open"]]
    )


def _of(one: Mapping[str, Any]) -> str:
    return f"<strong>{text(one['ticket'])}:</strong> {text(one['title'])}"


def _list(heading: str, items: Sequence[str]) -> Iterator[str]:
    if items:
        yield f"<h2>{heading}</h2><ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"


def _objectives(objectives: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not objectives:
        return
    yield '<h2>Objectives as they were seen</h2><div class="scroll"><table>'
    yield "<tr><th>objective<th>looks by state<th>fired</tr>"
    for one in objectives:
        fired = "<br>".join(f"{text(each['reason'])} {at(each['position'])}" for each in one["signals"])
        yield f"<tr><td>{text(one['name'])}<td>{text(looks(one['ticks']))}<td>{fired or 'never'}</tr>"
    yield "</table></div>"
    yield '<p class="faint">The watch looks once a second. How much of a budget is left is not in the ledger.</p>'


def _other_hands(changes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from _list(
        "What other hands changed",
        [
            f"<code>{text(one['actor'])}</code> brought release {text(one['after'][:10])} in place of "
            f"{text(one['before'][:10])} to {text(', '.join(one['nodes']))} {at(*one['positions'])}"
            for one in changes
        ],
    )


def _trend(trend: Mapping[str, Any]) -> Iterator[str]:
    yield '<h2>Trend</h2><div class="scroll"><table><tr><th>week<th>resolved<th>median time<th>cost a ticket</tr>'
    for one in (trend["this_week"], trend["week_before"]):
        took = "–" if one["median_s"] is None else f"{one['median_s']:.0f} s"
        usd = "–" if one["usd_per_ticket"] is None else f"{one['usd_per_ticket']:.2f} USD"
        yield f"<tr><td>{text(one['week'])}<td>{one['resolved']}<td>{took}<td>{usd}</tr>"
    yield "</table></div>"


def _events(events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not events:
        return
    # Open, so that a link into the list finds its event in every browser.
    yield '<h2>The events behind it</h2><ol class="events">'
    for one in events:
        told = text(one["told"] or one["event"])
        yield f'<li id="e{one["position"]}"><span class="faint">#{one["position"]} {text(one["at"][11:19])} '
        yield f"{text(one['actor'])}, {text(one['event'])} <code>{text(one['hash'][:8])}</code></span> {told}</li>"
    yield "</ol>"


def _anchor(document: Mapping[str, Any]) -> str:
    ledger, redacted = document["ledger"], sum(document["redaction"].values())
    without = f", without {redacted} secrets that texts held" if redacted else ""
    return (
        f"<footer>From the ledger alone, as it stood at event {ledger['head_position']}, hash "
        f"{escape(ledger['head_hash'])}; {ledger['events']} events of this week{without}. Times are UTC. "
        f"<code>harness ledger verify</code> checks it.</footer>"
    )
