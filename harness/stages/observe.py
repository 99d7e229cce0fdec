"""OBSERVE: one tick of the watch: which SLO burns, which invariant breaks, what is unusual, which release is served.

Reads metrics and nodes; records changes of release and of state, ends of signals and the heartbeat. Signals that start
are handed to FILE, which records them together with their ticket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from harness.anomalies import Usual, compare, signals
from harness.cause import closed_at, unheard
from harness.core import burn_rate
from harness.core import events as e
from harness.core.anomaly_policy import Anomalies
from harness.core.deployment import NodeReport
from harness.core.errors import Retryable
from harness.core.ids import WATCH_STREAM, fingerprint, fleet_stream, service_stream, signal_stream
from harness.core.invariant import Invariant, InvariantState, QueryFailed, step
from harness.core.manifest import Manifest
from harness.core.policy import NoData
from harness.core.record import StreamWrite
from harness.core.sight import Sight, is_away
from harness.core.sight import look as see
from harness.core.signal import Signal
from harness.core.slo import Slo
from harness.core.state_change import Told
from harness.core.structure import Structural
from harness.core.structure import step as step_structural
from harness.journal import HARNESS, decode, encode
from harness.measure import Window, measure_all
from harness.objectives import look
from harness.ports import Clock, Ledger, Metrics, Nodes
from harness.states import Seen as SeenState
from harness.states import tell
from harness.structure import Structure

BEAT_TICKS = 60
LOOK_AT_NODES_TICKS = 5


class Memory(BaseModel):
    """What the watch remembers from tick to tick; everything that must not be lost is in the ledger instead."""

    model_config = ConfigDict(frozen=True)

    ticks: int = 0
    sampled_at: datetime | None = None
    """The newest sample that was evaluated: the next tick is due when the next one is there."""
    beat_since: datetime | None = None
    beat_requests: int | None = None
    requests: int | None = None
    """Requests so far as the first objective counts them, at ``beat_since`` and at the last tick."""
    compared_until: datetime | None = None
    """The end of the last window that was compared with how it is used to be."""
    states: dict[str, dict[str, int]] = {}
    invariants: dict[str, InvariantState] = {}
    sights: dict[str, Sight] = {}
    """Name of an objective → whether it is seen, and since when."""
    told: dict[str, Told] = {}
    """Fingerprint → the state that was told, and what was seen since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What a tick needs."""

    manifest: Manifest
    slos: tuple[Slo, ...]
    invariants: tuple[Invariant, ...]
    anomalies: Anomalies
    metrics: Metrics
    nodes: Nodes
    ledger: Ledger
    clock: Clock
    no_data: NoData
    together_s: float
    """What begins so soon after each other may have one cause."""
    structural: tuple[Structural, ...] = ()
    structure: Structure | None = None
    """Who looks whether those hold."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The outcome of a tick: what to remember, and the signals that started."""

    memory: Memory
    started: tuple[Signal, ...]


async def tick(memory: Memory, watch: Watch) -> Seen:
    """Evaluate everything once."""
    now = watch.clock.now()
    memory = _beat(watch, memory, now)
    closed = {
        slo.name: closed_at(watch.ledger, fingerprint("slo", watch.manifest.name, slo.name)) for slo in watch.slos
    }
    looked = await look(watch.metrics, watch.manifest, watch.slos, closed, now)
    slos, sampled_at = looked.states, looked.sampled_at
    invariants = await _invariant_states(watch, memory, now)
    sights = {name: see(memory.sights.get(name), state.blind, now) for name, state in slos.items()}
    started = [
        *_slo_signals(watch, slos, sampled_at),
        *_no_data_signals(watch, sights, now),
        *_invariant_signals(watch, invariants, now),
        *await _anomalies(watch, memory, slos, now),
    ]
    own: dict[str, InvariantState] = {
        one.name: memory.invariants[one.name] for one in watch.structural if one.name in memory.invariants
    }  # fmt: skip
    if started or memory.ticks % LOOK_AT_NODES_TICKS == 0:
        own |= _structural_states(watch, await _look_at_nodes(watch), own, now)
        started += _structural_signals(watch, own, now)
    invariants |= own
    told = tell(_seen(watch, slos, invariants), memory.told, now, ledger=watch.ledger, clock=watch.clock)
    states = {**{name: state.state for name, state in slos.items()}, **{n: s.state for n, s in invariants.items()}}
    remembered = memory.model_copy(
        update={
            "ticks": memory.ticks + 1, "sampled_at": sampled_at, "states": _counted(memory.states, states),
            "requests": looked.requests, "invariants": invariants, "sights": sights, "told": told,
            "compared_until": watch.anomalies.last_end(now),
        }
    )  # fmt: skip
    return Seen(remembered if memory.beat_since else _since(remembered, now), tuple(started))


# --- objectives ----------------------------------------------------------------------------------------------------


def _slo_signals(watch: Watch, states: Mapping[str, burn_rate.SloState], sampled_at: datetime) -> list[Signal]:
    signals: list[Signal] = []
    for slo in watch.slos:
        state = states[slo.name]
        evidence: dict[str, Any] = {
            "reason": f"SLO {slo.name} {state.reason}", "target": slo.target,
            "burn": [{"window_s": window_s, "rate": rate} for window_s, rate in state.burn.items()],
            "burnt": dict(state.burnt),
        }  # fmt: skip
        began_at = sampled_at - timedelta(seconds=state.tier.long_s if state.tier else 0)
        signal = Signal(
            kind="slo", name=slo.name, service=watch.manifest.name, sampled_at=sampled_at, began_at=began_at,
            burnt=state.burnt, evidence=evidence,
        )  # fmt: skip
        signals += _started(watch, signal, state.burns)
    return signals


def _no_data_signals(watch: Watch, sights: Mapping[str, Sight], now: datetime) -> list[Signal]:
    """Objectives that are not seen for as long as policy says are neither healthy nor burning: somebody has to look."""
    signals: list[Signal] = []
    together = timedelta(seconds=watch.together_s)
    for name, sight in sights.items():
        beside = tuple(
            other for other, its in sights.items()
            if other != name and its.blind is not None and abs(its.since - sight.since) <= together
        )  # fmt: skip
        reason = f"SLO {name} is not measured since {sight.since.isoformat(timespec='seconds')}: {sight.blind}"
        signal = Signal(
            kind="no_data", name=name, service=watch.manifest.name, sampled_at=now, began_at=sight.since,
            evidence={"reason": reason}, priority=watch.no_data.priority, beside=beside,
        )  # fmt: skip
        signals += _started(watch, signal, is_away(sight, now, watch.no_data.after_s))
    return signals


# --- invariants ----------------------------------------------------------------------------------------------------


async def _invariant_states(watch: Watch, memory: Memory, now: datetime) -> dict[str, InvariantState]:
    """Every invariant by its name; all of them are asked together."""
    wanted = [(one.metric, Window.before(now, one.for_s)) for one in watch.invariants]
    readings: Sequence[float | QueryFailed | None]
    try:
        readings = [one.value for one in await measure_all(watch.metrics, watch.manifest, wanted)]
    except Retryable as error:
        readings = [QueryFailed(str(error))] * len(wanted)
    return {
        one.name: step(one, memory.invariants.get(one.name), reading, now.timestamp())
        for one, reading in zip(watch.invariants, readings, strict=True)
    }


def _invariant_signals(watch: Watch, states: Mapping[str, InvariantState], now: datetime) -> list[Signal]:
    signals: list[Signal] = []
    for invariant in watch.invariants:
        state = states[invariant.name]
        breaks = {"violated": True, "ok": False}.get(state.state)
        signal = Signal(
            kind="invariant", name=invariant.name, service=watch.manifest.name, sampled_at=now,
            began_at=now - timedelta(seconds=2 * invariant.for_s),
            evidence={"reason": f"invariant {invariant.name}: {state.reason}", "value": state.value},
        )  # fmt: skip
        signals += _started(watch, signal, breaks)
    return signals


def _structural_states(
    watch: Watch, reports: Sequence[NodeReport], before: Mapping[str, InvariantState], now: datetime
) -> dict[str, InvariantState]:
    """Those of the harness itself, whenever nodes were looked at."""
    found = watch.structure.look(reports) if watch.structure is not None else {}
    return {
        one.name: step_structural(one, before.get(one.name), found[one.name], now.timestamp())
        for one in watch.structural
        if one.name in found
    }


def _structural_signals(watch: Watch, states: Mapping[str, InvariantState], now: datetime) -> list[Signal]:
    signals: list[Signal] = []
    for name, state in states.items():
        signal = Signal(
            kind="invariant", name=name, service=watch.manifest.name, sampled_at=now,
            began_at=datetime.fromtimestamp(state.since_s if state.failing_since_s is None else state.failing_since_s,
                                            now.tzinfo),
            evidence={"reason": f"{name}: {state.reason}"},
        )  # fmt: skip
        signals += _started(watch, signal, {"violated": True, "ok": False}.get(state.state))
    return signals


def _seen(
    watch: Watch, slos: Mapping[str, burn_rate.SloState], invariants: Mapping[str, InvariantState]
) -> list[SeenState]:
    service = watch.manifest.name
    return [
        *(SeenState(kind="slo", name=name, service=service, state=one.state, reason=one.reason)
          for name, one in slos.items()),
        *(SeenState(kind="invariant", name=name, service=service, state=one.state, reason=one.reason)
          for name, one in invariants.items()),
    ]  # fmt: skip


# --- anomalies -----------------------------------------------------------------------------------------------------


async def _anomalies(
    watch: Watch, memory: Memory, slos: Mapping[str, burn_rate.SloState], now: datetime
) -> list[Signal]:
    """Once a window. Where nobody answered just now nobody is asked more, and the next window shows the same."""
    due = memory.compared_until is None or memory.compared_until < watch.anomalies.last_end(now)
    if not due or not watch.anomalies.enabled or any(state.state == "query_failed" for state in slos.values()):
        return []
    usual = Usual(
        manifest=watch.manifest, slos=watch.slos, invariants=watch.invariants, policy=watch.anomalies,
        metrics=watch.metrics, ledger=watch.ledger,
    )  # fmt: skip
    try:
        sights = await compare(usual, now)
    except Retryable:
        return []
    return [one for signal, fires in signals(usual, sights, now) for one in _started(watch, signal, fires)]


# --- what changed --------------------------------------------------------------------------------------------------


def _started(watch: Watch, signal: Signal, fires: bool | None) -> Sequence[Signal]:
    """The signal, if it fires and did not before, or goes on and has no ticket any more; its end is recorded here.

    None: nothing is known, nothing changes.
    """
    rows = watch.ledger.read_stream(signal_stream(signal.fingerprint))
    fired = bool(rows) and rows[-1].type == e.SignalStarted.__name__
    if fires and (not fired or unheard(watch.ledger, signal)):
        return [signal]
    if fires is False and fired:
        ended = encode(
            f"signal/{signal.fingerprint}/{len(rows)}", e.SignalEnded(fingerprint=signal.fingerprint),
            clock=watch.clock, actor=HARNESS, correlation=signal.fingerprint, cause=rows[-1].id,
        )  # fmt: skip
        watch.ledger.append([StreamWrite(signal_stream(signal.fingerprint), len(rows), [ended])])
    return []


async def _look_at_nodes(watch: Watch) -> list[NodeReport]:
    """Record every change of the release that a node serves, by whoever's hand; what those say that answer."""
    stream = service_stream(watch.manifest.name)
    rows = watch.ledger.read_stream(stream)
    seen = {event.node: event for row in rows if isinstance(event := decode(row), e.ReleaseObserved)}
    names = watch.nodes.names()
    _look_at_fleet(watch, names)
    reports = await asyncio.gather(*(_report(watch, node) for node in names))
    for node, report in zip(names, reports, strict=True):
        stable = report.slots.get("stable") if report else None
        last = seen.get(node)
        if stable is None or (last is not None and last.after == stable.commit):
            continue
        event = e.ReleaseObserved(
            node=node, before=last.after if last else None, after=stable.commit, actor=stable.actor, since=stable.since
        )
        new = encode(
            f"observed/{node}/{stable.commit}/{stable.since.isoformat()}", event, clock=watch.clock, actor=HARNESS,
            correlation=watch.manifest.name, cause=None,
        )  # fmt: skip
        watch.ledger.append([StreamWrite(stream, None, [new])])
    return [report for report in reports if report is not None]


def _look_at_fleet(watch: Watch, names: tuple[str, ...]) -> None:
    """Record it when there are other nodes than there were."""
    stream = fleet_stream(watch.manifest.name)
    rows = watch.ledger.read_stream(stream)
    last = decode(rows[-1]) if rows else None
    known = last.nodes if isinstance(last, e.FleetChanged) else ()
    if names == known:
        return
    event = e.FleetChanged(
        nodes=names, joined=tuple(n for n in names if n not in known), lost=tuple(n for n in known if n not in names)
    )
    new = encode(
        f"fleet/{watch.manifest.name}/{len(rows)}/{','.join(names)}", event, clock=watch.clock, actor=HARNESS,
        correlation=watch.manifest.name, cause=None,
    )  # fmt: skip
    watch.ledger.append([StreamWrite(stream, None, [new])])


async def _report(watch: Watch, node: str) -> NodeReport | None:
    try:
        return await watch.nodes.report(node)
    except Retryable:  # a node that is away serves nothing new; the invariants tell of its loss
        return None


# --- what is told of quiet times -----------------------------------------------------------------------------------


def _beat(watch: Watch, memory: Memory, now: datetime) -> Memory:
    """Record the heartbeat when it is due, from memory alone: a tick that is done again records the same one."""
    if memory.beat_since is None or memory.ticks % BEAT_TICKS:
        return memory
    first, last = memory.beat_requests, memory.requests
    beat = e.WatchBeat(
        ticks=BEAT_TICKS, states=memory.states, since=memory.beat_since,
        requests=None if first is None or last is None or last < first else last - first,
    )  # fmt: skip
    new = encode(
        f"beat/{memory.beat_since.isoformat()}", beat, clock=watch.clock, actor=HARNESS, correlation="watch", cause=None
    )
    watch.ledger.append([StreamWrite(WATCH_STREAM, None, [new])])
    return _since(memory.model_copy(update={"states": {}}), now)


def _since(memory: Memory, now: datetime) -> Memory:
    return memory.model_copy(update={"beat_since": now, "beat_requests": memory.requests})


def _counted(before: Mapping[str, Mapping[str, int]], states: Mapping[str, str]) -> dict[str, dict[str, int]]:
    counts = {name: dict(by_state) for name, by_state in before.items()}
    for name, state in states.items():
        counts.setdefault(name, {}).setdefault(state, 0)
        counts[name][state] += 1
    return counts
