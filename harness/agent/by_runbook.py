"""The runbook agent's next action, from what is recorded of this attempt and those before. Reads the journal alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from harness.agent import check_criteria
from harness.agent.runbook import Runbook, next_action
from harness.core import events as e
from harness.core.action import Action, Turn
from harness.core.manifest import Manifest
from harness.core.ticket import Attempt
from harness.journal import Journal


def action_of(
    journal: Journal, attempt: Attempt, turns: Sequence[Turn], *, runbooks: Sequence[Runbook], manifest: Manifest,
    design_effect: Mapping[str, float],
) -> Action:  # fmt: skip
    """The next action of an attempt that has taken these turns.

    Args:
        design_effect: metric → how much more its live share varies than independent requests would.
    """
    book = next((book for book in runbooks if book.runbook == attempt.runbook), None)
    assert journal.ticket.admitted is not None
    criteria = journal.ticket.admitted.criteria
    if book is None:
        return _without_runbook(journal, attempt, turns, manifest, design_effect)
    first = criteria[0]
    facts = {
        "id": journal.ticket_id, "service": journal.ticket.filed.service, "metric": first.metric,
        "condition": first.condition, "signal": (journal.ticket.filed.signal or "").partition(":")[2],
        "age_s": round((journal.clock.now() - journal.ticket.filed_at).total_seconds()),
        **_facts_of_earlier(journal, attempt.n),
    }  # fmt: skip
    if journal.ticket.answers:
        facts["answer"] = journal.blobs.get_json(journal.ticket.answers[-1].answer)["text"]
    scales = {probe.name: probe.scales() for probe in manifest.probes}
    return next_action(book, facts, turns, scales)


def _facts_of_earlier(journal: Journal, n: int) -> dict[str, Any]:
    """What a runbook can ask of the attempts before attempt ``n``; ``tried`` is what was taken back and disproved."""
    failed = failed_before(journal, n)
    return {
        "failed": failed,
        "failed_count": len(failed),
        "tried": [one["took_back"] for one in failed if one["took_back"] and one["disproved"]],
        "story": " ".join(one["told"] for one in failed) or "Nothing was tried before.",
    }


def failed_before(journal: Journal, n: int) -> list[dict[str, Any]]:
    """The attempts before attempt ``n`` that failed: what each took back, the stage that stopped it, and why."""
    failed = []
    for attempt in journal.ticket.attempts:
        if attempt.n >= n or attempt.failure is None:
            continue
        failure, took_back = attempt.failure, _took_back(journal, attempt)
        other = "changed nothing" if attempt.change is None else f"proposed {attempt.change.commit[:12]}"
        did = f"took back {_short(took_back)}" if took_back else other
        told = f"Attempt {attempt.n} {did}; {failure.stage} did not let it through: {failure.reason}."
        failed.append({"attempt": attempt.n, "took_back": took_back, "told": told, **asdict(failure)})
    return failed


def _took_back(journal: Journal, attempt: Attempt) -> str | None:
    """What the attempt's change took back, by the name that its tool gave it; None for any other change."""
    seen = [step for step in attempt.steps if isinstance(step, e.ObservationRecorded) and step.ok and step.commit]
    named = journal.blobs.get_json(seen[-1].body).get("took_back") if seen else None
    return str(named) if named else None


def _short(name: str) -> str:
    return "..".join(part[:12] for part in name.split(".."))


def _without_runbook(
    journal: Journal, attempt: Attempt, turns: Sequence[Turn], manifest: Manifest, design_effect: Mapping[str, float]
) -> Action:
    ticket = journal.ticket
    assert ticket.admitted is not None
    if ticket.filed.signal is None or ticket.answers:
        raised = f"raised by {ticket.filed.signal}" if ticket.filed.signal else "filed by hand"
        because = f"No runbook fits a ticket {raised}."
        return check_criteria.next_action(
            ticket.admitted.criteria, manifest, design_effect, attempt.base, turns, because
        )
    return Action(
        tool="call_for_help",
        arguments={"question": f"No runbook fits a ticket raised by {ticket.filed.signal}. What should be done?"},
        why="the runbook agent has no tree for this",
    )
