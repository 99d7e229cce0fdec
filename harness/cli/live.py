"""Draws a ticket under way for a person at a terminal, and follows the ledger until it is over. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from harness.bootstrap import Record
from harness.cli.render import condition_unit, number, p_value, safe, short_hashes
from harness.cli.shown import Shown
from harness.cli.story import line
from harness.core import events as e
from harness.core.lifecycle import State
from harness.core.record import Recorded
from harness.core.view import CanaryView, PhaseView, View, see
from harness.journal import decode
from harness.ledger.paging import rows

WAIT_S = 1.0
REDRAWN_PER_S = 4
STORY_LINES = 8
FEWEST_LINES = 2
WIDE = 96
"""Columns from which on canary and nodes stand beside each other."""
BAD_SHARE = 0.01
PHASE_WORDS = {"work": "agent works"}
WAITS = {
    State.AWAITING_APPROVAL: "waits for a person: harness ticket approve {}, or reject",
    State.PAUSED: "paused: harness ticket resume {} lets it go on",
    State.WAITING: "waits for the time at which it may be changed",
}
VERDICT_WORDS = {
    "superior": "better", "not_superior": "not better", "harm": "worse", "no_harm_shown": "no harm shown",
    "above_limit": "above its limit", "insufficient": "too few requests", "query_failed": "not measured",
}  # fmt: skip


class Watching:
    """The view as it is now, fed row by row from the ledger."""

    def __init__(self, record: Record, view: View) -> None:
        self.record = record
        self.view = view
        self.position = 0
        self._told = 0

    @classmethod
    def from_here(cls, record: Record, position: int, began_at: datetime) -> Watching:
        """Watches the next ticket that is filed, and knows what the nodes served until now."""
        watching = cls(record, View(ticket_id=""))
        for row in rows(record.ledger, up_to=position):
            watching.see(row)
        watching.view = replace(watching.view, ticket_id=None, lines=(), began_at=began_at)
        return watching

    def turn_to(self, ticket_id: str, began_at: datetime) -> None:
        """Watch another ticket from now on, with all that is known of it."""
        until, self.view = self.position, View(ticket_id=ticket_id, began_at=began_at)
        for row in rows(self.record.ledger, up_to=until):
            self.see(row)

    def catch_up(self, tell: Callable[[str], None]) -> None:
        """See everything that is recorded by now; ``tell`` gets the lines of the ticket's story, from its cause on."""
        for row in rows(self.record.ledger, after_position=self.position):
            self.see(row)
            if self.view.filed is not None:
                for one in self.view.lines:
                    if one.position > self._told:
                        tell(f"{one.at:%H:%M:%S}  {one.text}")
                        self._told = one.position

    def see(self, row: Recorded) -> None:
        """See one row."""
        event = decode(row)
        told = line(event, Shown(self.record.blobs))
        self.view = see(self.view, row, event, told=told, reason=_reason(event, self.record))
        self.position = row.position

    def wait(self) -> None:
        """Until something more is recorded, or a second has passed."""
        self.record.ledger.wait_past(self.position, timeout_s=WAIT_S)


def _reason(event: e.Event, record: Record) -> str:
    """The text that the event only refers to, and the view shows."""
    shown = Shown(record.blobs)
    match event:
        case e.SignalStarted():
            return str(shown.get_json(event.evidence).get("reason"))
        case e.HelpRequested():
            return str(shown.get_json(event.question)["question"])
        case e.TicketFiled():
            return str(shown.get_json(event.spec)["ticket"]["objective"]["description"])
    return ""


@contextmanager
def drawn(watching: Watching) -> Iterator[None]:
    """Keeps the view on the screen while the caller feeds it; the last state stays there."""
    console = Console(highlight=False)

    def now() -> Panel:
        at = datetime.now(UTC)
        others = len(console.render_lines(screen(watching.view, at, console.width, 0)))
        room = max(FEWEST_LINES, min(STORY_LINES, console.height - others - 1))
        return screen(watching.view, at, console.width, room)

    with Live(console=console, get_renderable=now, refresh_per_second=REDRAWN_PER_S):
        yield


def _tell(told: str) -> None:
    print(told, flush=True)


def watch_ticket(record: Record, ticket_id: str, *, silent: bool) -> State:
    """Show a ticket until nothing more happens to it by itself; the state it is in then."""
    console = Console(highlight=False)
    watching = Watching(record, View(ticket_id=ticket_id))
    draws = console.is_terminal and not console.is_dumb_terminal and not silent
    with drawn(watching) if draws else nullcontext():
        while True:
            watching.catch_up((lambda told: None) if draws or silent else _tell)
            if watching.view.over:
                return watching.view.state
            watching.wait()


# --- drawing -------------------------------------------------------------------------------------------------------


def screen(view: View, now: datetime, width: int, story_lines: int) -> Panel:
    """The whole view, ``width`` columns wide, with the last lines of the story."""
    beside = Table.grid(expand=True, padding=(0, 2))
    parts: tuple[Group | Table, ...] = (_canary(view), _nodes(view))
    if width >= WIDE:
        beside.add_column(ratio=3)
        beside.add_column(ratio=2)
        beside.add_row(*parts)
    else:
        beside.add_column()
        for part in parts:
            beside.add_row(part)
    body = Group(_stages(view, now, width - 4), Text(), _fires(view), Text(), beside, Text(), _story(view, story_lines))
    return Panel(
        body, title=_title(view), title_align="left", subtitle=_elapsed(view, now), subtitle_align="right",
        width=width, padding=(0, 1),
    )  # fmt: skip


def _title(view: View) -> Text:
    if view.filed is None:
        return Text("no ticket yet; the watch looks on", style="bold")
    attempt = f", attempt {view.life.attempt}" if view.life.attempt > 1 else ""
    return Text(f"{plain(view.filed.ticket_id)} ({view.filed.type}{attempt}): {plain(view.title)}", style="bold")


def _stages(view: View, now: datetime, width: int) -> Text:
    """From the fault to the verification, with the seconds of each phase; a phase is not broken over two lines."""
    colour = "green" if view.state is State.RESOLVED else "red"
    end = Text(str(view.state), style=f"bold {colour}") if view.over else Text("resolved", style="dim")
    lines = [Text.assemble(("fault", "red"))]
    for part in [*(_phase(phase, now) for phase in view.phases()), end]:
        if lines[-1].cell_len + part.cell_len + 3 > width:
            lines.append(Text())
        lines[-1].append(" › ", style="dim")
        lines[-1].append_text(part)
    return Text("\n").join(lines)


def _elapsed(view: View, now: datetime) -> Text | None:
    if view.began_at is None:
        return None
    until = view.history[-1][0] if view.over else now
    return Text(f"{(until - view.began_at).total_seconds():.1f} s since it began", style="bold")


def _phase(phase: PhaseView, now: datetime) -> Text:
    name = PHASE_WORDS.get(phase.name, phase.name)
    seconds = phase.seconds + ((now - phase.since).total_seconds() if phase.since else 0.0)
    if phase.since:
        return Text(f"● {name} {seconds:.1f} s", style="bold yellow")
    if phase.stopped:
        return Text(f"✗ {name} {seconds:.1f} s", style="red")
    return Text(f"✓ {name} {seconds:.1f} s", style="green") if seconds else Text(name, style="dim")


def _fires(view: View) -> Text:
    """What burns or breaks, what was stopped, what is asked, and whether the criteria hold."""
    lines = [Text(f"▲ {plain(one.reason)}", style="bold red") for one in view.fires]
    lines += [
        Text(f"✗ attempt {one.attempt} was stopped by {one.phase}: {plain(one.reason)}", style="red")
        for one in view.stops
    ]
    if waits := WAITS.get(view.state):
        lines.append(Text(f"‖ {waits.format(plain(view.ticket_id or ''))}", style="bold yellow"))
    if view.question:
        lines.append(Text(f"? a person is asked: {plain(view.question)}", style="bold yellow"))
    if view.criteria:
        lines.append(Text("   ").join(_criterion(one) for one in view.criteria))
    return Text("\n").join(lines or [Text("nothing burns, no invariant is broken", style="green")])


def _criterion(one: e.JudgedCriterion) -> Text:
    sign, colour = {True: ("✓", "green"), False: ("✗", "red"), None: ("?", "yellow")}[one.met]
    value, left = number(one.measured.value, condition_unit(one.condition)), ""
    if one.left_to is not None and one.passes:
        sign, colour, left = "≈", "yellow", f", left to {plain(one.left_to.ticket_id)}"
    return Text(f"{sign} {plain(one.metric)} {value} ({plain(one.condition)}{left})", style=colour)


def _canary(view: View) -> Group:
    """Both arms as they are counted: bad requests of all, with and without the change."""
    canary = view.canary
    if canary is None:
        return Group(Text.assemble(("canary", "bold"), (": not yet", "dim")))
    word, colour = {True: (": passed", "green"), False: (": stopped the change", "red"), None: (
        f": {_look(canary)}", "yellow")}[canary.passed]  # fmt: skip
    table = Table.grid(padding=(0, 2))
    for _ in range(4):
        table.add_column(no_wrap=True)
    if canary.counts:
        headings = (
            "bad requests",
            "since" if canary.alone else "with change",
            "" if canary.alone else "without",
            "verdict",
        )
        table.add_row(*(Text(heading, style="dim") for heading in headings))
    verdicts = {one.metric: one for one in canary.verdicts if one.role != "limit" or canary.alone}
    for count in canary.counts:
        said = verdicts.get(count.metric)
        chance = "" if said is None or said.p_value is None else f" ({p_value(said.p_value)})"
        table.add_row(
            Text(plain(count.metric)),
            _arm(count.canary_bad, count.canary_total),
            Text() if canary.alone else _arm(count.baseline_bad, count.baseline_total),
            Text(
                "not yet" if said is None else VERDICT_WORDS.get(said.reason, plain(said.reason)) + chance, style="dim"
            ),
        )
    if not canary.counts and not canary.alone:
        table.add_row(Text(f"none yet; {canary.planned_per_arm} an arm are planned", style="dim"))
    return Group(Text.assemble((f"canary on {plain(canary.node)}", "bold"), (word, colour)), table)


def _look(canary: CanaryView) -> str:
    look = f"look {canary.look}" if canary.look else "no look yet"
    return f"{look}, watched alone" if canary.alone else f"{look}, each arm has {canary.share:.0%} of the users"


def _arm(bad: int, total: int) -> Text:
    return Text(f"{bad} of {total}", style="bold red" if total and bad / total > BAD_SHARE else "")


def _nodes(view: View) -> Table:
    table = Table.grid(padding=(0, 2))
    headings = (("nodes", "bold"), ("serve", "dim"), ("brought by", "dim"))
    table.add_row(*(Text(word, style=style) for word, style in headings))
    for name, serving in view.nodes:
        colour = "" if serving.by == "harness" else "yellow"
        arms = " + canary" if view.canary and view.canary.node == name and view.canary.passed is None else ""
        table.add_row(Text(plain(name)), Text(serving.commit[:10] + arms), Text(plain(serving.by), style=colour))
    return table


def _story(view: View, lines_shown: int) -> Group:
    lines = [Text("what happens", style="bold")]
    for one in view.lines[len(view.lines) - lines_shown :] if lines_shown < len(view.lines) else view.lines:
        told = Text.assemble((f"{one.at:%H:%M:%S}  ", "dim"), plain(one.text))
        told.no_wrap, told.overflow = True, "ellipsis"
        lines.append(told)
    return Group(*lines)


def plain(text: str) -> str:
    """Text of the world in one line that a terminal only shows."""
    return short_hashes(" ".join(safe(text).split()))
