"""Draws shares and durations as bars in an inline SVG that follows the page's colours. Touches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LABEL, VALUE, ROW, TOP = 440, 150, 74, 26, 20
ROOM = WIDTH - LABEL - VALUE


@dataclass(frozen=True, slots=True)
class Bar:
    """A row: ``value`` None draws no bar; ``tone`` is a class of the page (`bad`, `good`, `plain`)."""

    label: str
    value: float | None
    shown: str
    tone: str


def bars(title: str, rows: Sequence[Bar], *, limit: float | None, limit_label: str) -> str:
    """Horizontal bars from 0, on one scale, with a line at the limit."""
    top = max([row.value for row in rows if row.value is not None] + ([limit] if limit else []), default=0.0) or 1.0
    height = TOP + ROW * len(rows) + 4
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title, quote=True)}">',
        f"<title>{escape(title)}</title>",
    ]
    if limit is not None:
        x = LABEL + limit / top * ROOM
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 2}" y2="{height - 2}" class="limit"/>')
        anchor = "start" if x < LABEL + ROOM / 2 else "end"
        parts.append(
            f'<text x="{x:.1f}" y="{TOP - 7}" text-anchor="{anchor}" class="faint">{escape(limit_label)}</text>'
        )
    for number, row in enumerate(rows):
        y = TOP + ROW * number
        parts.append(f'<text x="{LABEL - 8}" y="{y + 16}" text-anchor="end">{escape(row.label)}</text>')
        width = 0.0 if row.value is None else max(row.value / top * ROOM, 1.5)
        parts.append(f'<rect class="{row.tone}" x="{LABEL}" y="{y + 4}" width="{width:.1f}" height="16" rx="2"/>')
        parts.append(f'<text x="{LABEL + width + 6:.1f}" y="{y + 16}" class="strong">{escape(row.shown)}</text>')
    return "".join([*parts, "</svg>"])
