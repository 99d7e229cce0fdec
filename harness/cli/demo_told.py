"""Tells people how a demo ended: each ticket, its phases and criteria, and what the oracle saw. Decides nothing."""

from __future__ import annotations

import sys
from typing import Any

from harness.cli.demo_scene import Scene
from harness.cli.render import condition_unit, number


def tell_the_end(scene: Scene, documents: list[dict[str, Any]], oracle: dict[str, Any]) -> None:
    for document in documents:
        _tell_the_ticket(scene, document)
    tell_the_oracle(scene, oracle)
    for document in documents:
        for text in document["tried"]:
            scene.say(f"  {text}")
        if document["question"]:
            scene.say(f"  question: {document['question']}")
    ticket, home = documents[-1]["ticket"], scene.settings.home.root
    scene.say(f"look on: {sys.argv[0]} ticket explain {ticket} · … trajectory show {ticket} · "
              f"… summary --format html --out summary.html · "
              f"… ledger verify · git -C {scene.repository} log main   (HARNESS_HOME={home})")  # fmt: skip


def _tell_the_ticket(scene: Scene, document: dict[str, Any]) -> None:
    say = scene.say
    say(
        f"{document['ticket']} is {document['outcome']} after {document['attempts']} attempt"
        f"{'s' if document['attempts'] != 1 else ''}, "
        f"{sum(one['seconds'] for one in document['phases']):.1f} s after the fault"
    )
    for phase in document["phases"]:
        say(
            f"  {phase['name']:<7} {phase['seconds']:5.1f} s, of which {phase['waiting_s']:5.1f} s waiting for evidence"
        )
    for one in document["criteria"]:
        unit = condition_unit(one["condition"])
        unit = unit or scene.manifest.metrics[one["metric"]].unit
        before, after = number(one["before"], unit), number(one["after"], unit)
        say(
            f"  {one['metric']:<20} {one['condition']:<8} before {before}, "
            f"at admission {number(one['sick'], unit)}, now {after}"
            + (f", left to {one['left_to']}" if one["left_to"] else "")
        )
    for one in document["shown"]:
        say(
            f"  {one['metric']:<20} (shown)  at admission {number(one['sick'], one['unit'])}, "
            f"now {number(one['after'], one['unit'])}"
        )


def tell_the_oracle(scene: Scene, oracle: dict[str, Any]) -> None:
    for one in (*oracle["earlier"], oracle):
        word = "healthy" if one["healthy"] else "not healthy"
        scene.say(
            f"oracle, by its own client: {word}, slow {number(one['slow_share'], '%')}, {one['errors']} errors, "
            f"{one['denied_wrongly']} denied wrongly of {one['requests']}, p99 {one['p99_ms']:.1f} ms"
            + (f", a check costs {one['check_us']:.0f} us of CPU" if one["check_us"] is not None else "")
        )
