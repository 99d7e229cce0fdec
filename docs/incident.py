"""Draws one real incident from what `harness demo` and `harness ticket explain` said of it. Reads docs/incident only.

Everything in the picture is a value of the two documents; between two measurements nothing is drawn. ``generate.py``
writes the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any

RUN = Path(__file__).parent / "incident"
WIDTH, LEFT, RIGHT = 1000, 56, 24
TOP, PLOT = 74, 150
BARS = TOP + PLOT + 46
MARKS = BARS + 62
HEIGHT = MARKS + 104
LANES = 4
LETTER = 7.4
"""Width of a letter of the 12 px text, on average; only to keep labels apart."""
HALO = 'stroke="#ffffff" stroke-width="4" paint-order="stroke"'
"""Keeps a label readable where a line runs behind it."""
INK, FAINT, SICK, WELL, PHASE = "#1f2933", "#66727f", "#c2410c", "#0f766e", "#dbe4ee"


@dataclass(frozen=True, slots=True)
class Scale:
    """Seconds since the fault, and shares 0..1, to points of the picture."""

    first_s: float
    last_s: float

    def x(self, seconds: float) -> float:
        """Where a moment is."""
        return LEFT + (seconds - self.first_s) / (self.last_s - self.first_s) * (WIDTH - LEFT - RIGHT)

    def y(self, share: float) -> float:
        """Where a share is."""
        return TOP + (1 - share) * PLOT


@dataclass(frozen=True, slots=True)
class Span:
    """A share of slow requests that was measured over a window, in seconds since the fault."""

    label: str
    start_s: float
    end_s: float
    share: float
    samples: int


def picture(demo: Mapping[str, Any], explained: Mapping[str, Any]) -> str:
    """The SVG of an incident.

    Args:
        demo: the document of `harness demo --json`.
        explained: the document of `harness ticket explain ID --json` for the ticket of that demo.
    """
    events: list[dict[str, Any]] = explained["decisions"]
    filed_at = _at(next(each for each in events if each["event"] == "TicketFiled"))
    began_at = filed_at - timedelta(seconds=demo["fault_to_ticket_s"])
    spans = list(_spans(events, began_at))
    end_s = sum(phase["seconds"] for phase in demo["phases"])
    scale = Scale(min(span.start_s for span in spans) - 2, max(end_s, *(span.end_s for span in spans)) + 2)
    parts = [*_head(demo), *_axes(demo, scale), *_arms(events, began_at, scale), *_measured(spans, scale)]
    parts += [*_phases(demo["phases"], scale), *_marks(_moments(events, began_at), scale)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12">\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _head(demo: Mapping[str, Any]) -> Iterator[str]:
    title = f"{demo['incident']}: {demo['outcome']} {demo['fault_to_verified_s']:.1f} s after the fault"
    yield f"<title>{escape(title)}</title>"
    yield f"<desc>{escape(demo['change']['summary'])}</desc>"
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    yield _text(LEFT, 24, title, size=16, weight="600")
    waited = sum(phase["waiting_s"] for phase in demo["phases"])
    line = (
        f"Share of requests that took 50 ms or more. {waited:.1f} s went into waiting for evidence, "
        f"{demo['overhead_s']:.1f} s into everything else."
    )
    yield _text(LEFT, 44, line, colour=FAINT)


def _axes(demo: Mapping[str, Any], scale: Scale) -> Iterator[str]:
    for share in (0.0, 0.5, 1.0):
        yield _line(LEFT, scale.y(share), WIDTH - RIGHT, scale.y(share), "#e4e9ef")
        yield _text(LEFT - 8, scale.y(share) + 4, f"{share:.0%}", anchor="end", colour=FAINT)
    objective = demo["criteria"][0]["condition"]
    share = float(objective.strip("<% ")) / 100
    yield _line(LEFT, scale.y(share), WIDTH - RIGHT, scale.y(share), FAINT, dash="4 4")
    yield _text(scale.x(8), scale.y(share) - 5, f"objective {objective}", colour=FAINT)
    for seconds in range(int(scale.first_s // 10 + 1) * 10, int(scale.last_s) + 1, 10):
        yield _text(scale.x(seconds), TOP + PLOT + 18, f"{seconds} s", anchor="middle", colour=FAINT)
    yield _line(scale.x(0), TOP - 8, scale.x(0), BARS + 24, SICK, dash="2 3")


def _spans(events: Sequence[Mapping[str, Any]], began_at: datetime) -> Iterator[Span]:
    """Before the fault, at admission, and after the repair: the ticket's first criterion, as the ledger has it."""
    admitted = next(each["data"] for each in events if each["event"] == "TicketAdmitted")
    own = admitted["criteria"][0]
    verified = next(each["data"] for each in events if each["event"] == "CriteriaMet")
    sick = next(one for one in admitted["sick"] if one["metric"] == own["metric"])
    for label, one in (
        ("before", own["baseline"]),
        ("at admission", sick),
        ("after", verified["criteria"][0]["measured"]),
    ):
        start, end = (_since(began_at, datetime.fromisoformat(one[key])) for key in ("window_from", "window_to"))
        yield Span(label, start, end, one["value"], one["samples"])


def _measured(spans: Sequence[Span], scale: Scale) -> Iterator[str]:
    for span in spans:
        colour = SICK if span.share > 0.5 else WELL
        middle, y = (scale.x(span.start_s) + scale.x(span.end_s)) / 2, scale.y(span.share)
        yield _line(scale.x(span.start_s), y, scale.x(span.end_s), y, colour, width=5)
        above = y - 38 if span.share < 0.5 else y + 20
        label = f"{span.label}: {span.share * 100:.3g} %"
        yield _text(middle, above, label, anchor="middle", colour=colour, weight="600")
        yield _text(middle, above + 14, f"{span.samples} requests", anchor="middle", colour=FAINT, size=11)


def _arms(events: Sequence[Mapping[str, Any]], began_at: datetime, scale: Scale) -> Iterator[str]:
    """The canary's looks: both arms, counted from the start of the canary."""
    looks = [each["data"] for each in events if each["event"] == "CanaryLooked"]
    for arm, colour, name in (("baseline", SICK, "without the change"), ("canary", WELL, "with the change")):
        points = []
        for look in looks:
            count = next(one for one in look["counts"] if one["metric"] == "slow_share")
            seconds = _since(began_at, datetime.fromisoformat(look["window_to"]))
            points.append((scale.x(seconds), scale.y(count[f"{arm}_bad"] / count[f"{arm}_total"])))
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points)
        x, y = points[0]
        below = 18 if y < TOP + PLOT / 2 else -24
        yield _text(x, y + below, f"canary, {name}", colour=colour)


def _phases(phases: Sequence[Mapping[str, Any]], scale: Scale) -> Iterator[str]:
    start_s = 0.0
    for phase in phases:
        x, width = scale.x(start_s), scale.x(start_s + phase["seconds"]) - scale.x(start_s)
        start_s += phase["seconds"]
        yield f'<rect x="{x:.1f}" y="{BARS}" width="{max(width - 1.5, 1):.1f}" height="24" fill="{PHASE}" rx="2"/>'
        if width > LETTER * len(phase["name"]):
            yield _text(x + width / 2, BARS + 16, phase["name"], anchor="middle", weight="600")
            yield _text(x + width / 2, BARS + 38, f"{phase['seconds']:.1f} s", anchor="middle", colour=FAINT)


def _moments(events: Sequence[Mapping[str, Any]], began_at: datetime) -> list[tuple[float, str]]:
    """What is worth a mark, with its seconds since the fault."""
    moments = [(0.0, "fault installed")]
    for each in events:
        data, text = each["data"], ""
        match each["event"]:
            case "TicketFiled":
                text = f"ticket {data['ticket_id']}"
            case "TicketAdmitted":
                text = "admitted"
            case "ChangeProposed":
                text = f"change {data['commit'][:7]} proposed"
            case "CanaryStepped":
                text = f"{data['share']:.0%} of the keys"
            case "CanaryPassed":
                text = "canary passed"
            case "NodeSwapped":
                text = f"{data['node']} swapped"
            case "ChecksPassed":
                text = f"{sum(one['tests_passed'] or 0 for one in data['outcomes'])} tests passed"
            case "CriteriaMet":
                text = "criteria met"
        if text:
            moments.append((_since(began_at, _at(each)), text))
    return moments


def _marks(moments: Sequence[tuple[float, str]], scale: Scale) -> Iterator[str]:
    """A tick and a label each; labels that would meet go to the next lane."""
    free_from = [0.0] * LANES
    labels = []
    for seconds, text in moments:
        x = scale.x(seconds)
        width = LETTER * len(text)
        begins = min(x - 3, WIDTH - RIGHT - width)
        lane = next((n for n, free in enumerate(free_from) if free <= begins), LANES - 1)
        free_from[lane] = begins + width + 8
        y = MARKS + 18 + lane * 22
        yield _line(x, BARS + 46, x, y - 12, FAINT)
        labels.append(_text(begins, y, text))
    yield from labels  # over every tick


def _at(event: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(event["at"])


def _since(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width:g}"{dashed}/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", colour: str = INK, size: int = 12, weight: str = "400"
) -> str:
    style = f'text-anchor="{anchor}" fill="{colour}" font-size="{size}" font-weight="{weight}" {HALO}'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def drawn() -> str:
    """The picture of the run that is kept in ``docs/incident``."""
    demo, explained = (json.loads((RUN / f"{name}.json").read_text()) for name in ("demo", "explain"))
    return picture(demo, explained)
