"""Tells what an event means in a line for people, with the evidence it rests on. Reads blobs; decides nothing."""

from __future__ import annotations

from typing import Any

from harness.agent.by_hand import BY_HAND
from harness.cli.render import condition_unit, number, p_value, safe
from harness.core import events as e
from harness.core.dropping import dropped
from harness.core.plain_text import one_line
from harness.core.regression import told
from harness.parts import PARTS
from harness.ports import Bodies


def line(event: e.Event, blobs: Bodies) -> str | None:
    """The line of this event, a single one that no terminal obeys; None for one that people need not see."""
    told = _told(event, blobs)
    return None if told is None else one_line(told)


def _told(event: e.Event, blobs: Bodies) -> str | None:
    match event:
        case e.SignalStarted():
            evidence = blobs.get_json(event.evidence)
            verb = "is open" if event.kind == "opportunity" else "fires"
            return f"{event.kind} {event.name} of {event.service} {verb}: {safe(str(evidence.get('reason')))}"
        case e.TicketFiled():
            spec = blobs.get_json(event.spec)["ticket"]
            again = f", again after {event.recurrence_of}" if event.recurrence_of else ""
            wanted = safe(spec["objective"]["description"])
            return f"ticket {event.ticket_id} ({event.type}, {event.priority}){again}: {wanted}"
        case e.SignalGrouped():
            seen = safe(str(blobs.get_json(event.evidence).get("reason")))
            return f"{event.signal} is grouped into {event.ticket_id}, for {safe(event.why)}: {seen}"
        case e.TicketAdmitted():
            return "admitted with criteria " + "; ".join(
                f"{one.metric} {one.condition} ({one.duration}; before: {_measured(one)})" for one in event.criteria
            )
        case e.TicketRejected():
            return "rejected: " + "; ".join(map(safe, event.reasons))
        case e.ParentNamed():
            return f"it is a part of {event.parent}"
        case e.AttemptStarted() if event.agent == PARTS:
            return f"attempt {event.attempt}: its parts have done the work, no agent is asked; from {event.base[:10]}"
        case e.AttemptStarted() if event.agent == BY_HAND:
            return f"attempt {event.attempt}: the ticket names its change, no agent is asked; from {event.base[:10]}"
        case e.AttemptStarted():
            follows = f" follows runbook {event.runbook}" if event.runbook else ""
            return f"attempt {event.attempt}: agent {event.agent}{follows} from {event.base[:10]}"
        case e.ActionTaken():
            call = blobs.get_json(event.call)
            return f"  {event.step:>2} {event.tool}({_arguments(call['arguments'])}): {safe(call['why'])}{_took(event)}"
        case e.ObservationRecorded():
            return f"     → {_observation(event, blobs.get_json(event.body))}"
    return _delivery(event, blobs)


def _delivery(event: e.Event, blobs: Bodies) -> str | None:
    match event:
        case e.ChangeProposed():
            summary = blobs.get_json(event.summary)
            expected = safe(summary["predicted_effect"])
            if event.operation is not None:
                return f"action {called(event.operation)} proposed: {safe(summary['summary'])} Expected: {expected}"
            return f"change {event.commit[:10]} proposed: {safe(summary['summary'])} Expected: {expected}"
        case e.NothingToChange():
            return f"nothing to change: {safe(blobs.get_json(event.why)['why'])}"
        case e.HelpRequested():
            return f"a human is called ({event.exit_status}): {safe(blobs.get_json(event.question)['question'])}"
        case e.DeliveryQueued() if event.until is not None:
            return f"queued until {event.until.isoformat(timespec='minutes')}: {safe(event.holder)}"
        case e.DeliveryQueued():
            return f"queued: {event.holder} is delivering to the same service"
        case e.DeliveryBlocked():
            since = event.since.isoformat(timespec="seconds")
            return (
                f"blocked: invariant {event.invariant} is violated since {since}, and until it holds again "
                f"({safe(event.condition)}) nothing but incidents and reverts is delivered"
            )
        case e.LockAcquired():
            return f"delivery lock of {event.service} taken, token {event.token}"
        case e.ChecksPassed() | e.ChecksFailed():
            return _checks(event)
        case e.OperationStepped():
            return _operated(event)
        case e.CanaryStarted():
            limits = "".join(f"; no limit on {name}, left to {ticket}" for name, ticket in event.no_limit.items())
            return f"canary {event.canary[:10]} and fresh baseline {event.baseline[:10]} stand on {event.node}{limits}"
        case e.CanaryStepped():
            return (
                f"canary step {event.step}: {number(event.share, '%')} of the keys to each arm (Envoy {event.version})"
            )
        case e.CanaryLooked() if not any(count.baseline_total for count in event.counts):
            return f"  look {event.look}: {'; '.join(map(_count, event.counts))} → {event.decision}"
        case e.CanaryLooked():
            return f"  look {event.look}: {'; '.join(map(_arm_count, event.counts))} → {event.decision}"
        case e.CanaryPassed() | e.CanaryFailed():
            return _canary(event)
        case e.MainMoved():
            return f"main {event.before[:10]} → {event.after[:10]}"
        case e.NodeSwapped():
            if event.ok:
                return f"{event.node} serves {event.after[:10]}{_left(event.left_to)}"
            return f"{event.node} failed: {safe(event.reason)}"
        case e.FleetChanged() if event.lost or len(event.joined) < len(event.nodes):
            changes = [f"{', '.join(names)} {word}" for names, word in ((event.lost, "gone"), (event.joined, "come"))
                       if names]  # fmt: skip
            return f"the fleet changed: {'; '.join(changes)}; now {', '.join(event.nodes)}"
        case e.ReleaseDeployed():
            return f"deployed {event.commit[:10]} to {', '.join(event.nodes)}{_left(event.left_to)}"
        case e.DeployFailed() | e.RollbackFailed():
            return f"{type(event).__name__}: {safe(event.reason)}"
        case e.StageStalled():
            return f"nothing comes of it, and it is tried on for a while: {safe(event.reason)}"
        case e.RolledBack():
            return f"rolled back to {event.commit[:10]}: {safe(event.reason)}"
        case e.CriteriaMet() | e.CriteriaNotMet():
            return _verified(event)
        case e.LockReleased():
            return "delivery lock given back"
        case e.StartMeasured():
            return "right before it touches anything: " + "; ".join(
                f"{one.metric} {number(one.value)}" for one in event.measured
            )
        case e.GateJudged():
            return _gate(event)
        case e.BudgetSpendJudged():
            spent = "; ".join(f"{one.objective} {one.spent:.2%}" for one in event.objectives)
            return safe(event.reason) or f"spent of error budgets: {spent} (at most {event.at_most * 100:g}%)"
        case e.VerificationInterrupted():
            return f"VERIFY inconclusive: {event.by} ({event.priority}) takes the lock; it starts anew afterwards"
        case e.WayBackBegun():
            return f"taken back: {safe(event.reason)}"
        case e.ReleaseObserved() if event.before is not None:
            return f"{event.node} was seen to serve {event.after[:10]} instead of {event.before[:10]}, by {event.actor}"
        case e.SignalEnded():
            return "the signal has ended"
        case e.StateChanged():
            flaps = f" ({event.untold} changes in between)" if event.untold else ""
            before = f"{event.before} → " if event.before else ""
            return f"{event.kind} {event.name} of {event.service}: {before}{event.after}{flaps}: {safe(event.reason)}"
        case e.AlertsTold():
            return _alerts(event, blobs)
    return _people(event, blobs)


def _alerts(event: e.AlertsTold, blobs: Bodies) -> str:
    counts = ((len(event.began), "began"), (len(event.again), "fire again"), (len(event.ended), "are over"))
    changes = ", ".join(f"{number} {word}" for number, word in counts if number)
    reason = safe(str(blobs.get_json(event.evidence)["reason"]))
    return f"alerts of others: {changes}; {event.firing} fire now ({reason})"


def _people(event: e.Event, blobs: Bodies) -> str | None:
    match event:
        case e.WindowAwaited():
            return f"waits until {event.until.isoformat(timespec='minutes')}: {safe(event.constraint)}"
        case e.TicketSplit():
            return f"split: it waits for its parts {', '.join(event.children)}"
        case e.ChildrenEnded():
            return "its parts have ended: " + ", ".join(f"{one.ticket_id} {one.state}" for one in event.children)
        case e.WindowOpened():
            return "the hours are over in which the ticket must not change anything"
        case e.ApprovalRequested():
            return f"approval is asked for {event.what} ({safe(blobs.get_json(event.why)['why'])}), {event.hash[:17]}"
        case e.ApprovalGranted():
            return f"{safe(event.by)} approved {event.hash[:17]}"
        case e.ApprovalDenied():
            return f"{safe(event.by)} rejected {event.hash[:17]}{_why(blobs, event.why)}{', for good' * event.final}"
        case e.AnswerGiven():
            return f"{safe(event.by)} answered{_why(blobs, event.answer)}"
        case e.TakenOver():
            return f"{safe(event.by)} took it over, with commit {safe(event.commit)[:12]}"
        case e.TicketPaused():
            return f"paused by {safe(event.by)}"
        case e.TicketResumed():
            return f"resumed by {safe(event.by)}"
        case e.TicketCancelled():
            return f"cancelled by {safe(event.by)}{_why(blobs, event.why)}"
        case e.ConstraintsChanged():
            now = "; ".join(map(safe, event.constraints)) or "none any more"
            return f"{safe(event.by)} changed its constraints{_why(blobs, event.why)}. They are: {now}"
        case e.ChangeReverted():
            return f"its change was taken back by {event.by_ticket}"
    return None


def _why(blobs: Bodies, text: str) -> str:
    said = safe(blobs.get_json(text)["text"])
    return f": {said}" if said else ""


def called(operation: e.Operation) -> str:
    """``add_nodes(count=1)``."""
    return safe(f"{operation.action}({', '.join(f'{name}={value}' for name, value in operation.parameters.items())})")


def _operated(event: e.OperationStepped) -> str:
    done = {"start": "started, and serves", "drain": "drained", "remove": "removed", "restore": "serves again"}
    back = "taken back: " if event.back else ""
    if event.ok:
        return f"{back}{event.node} {done[event.verb]}"
    return f"{back}{event.verb} of {event.node or 'a node'} failed: {safe(event.reason)}"


def _checks(event: e.ChecksPassed | e.ChecksFailed) -> str:
    ran = "; ".join(map(_outcome, event.outcomes))
    if isinstance(event, e.ChecksPassed):
        return f"TEST passed: {ran} (tree {event.tree[:10]})"
    return f"TEST failed: {safe(event.reason)} ({ran or 'nothing ran'})"


def _outcome(one: e.CheckOutcome) -> str:
    word = "passed" if one.passed else "failed"
    if one.exit_code is None and not one.seconds:  # a precondition is asked, not run
        return f"{one.name} {word}"
    return f"{one.name} {word} in {one.seconds:.1f} s" + (
        f", {one.tests_passed} tests" if one.tests_passed is not None else ""
    )


def _gate(event: e.GateJudged) -> str:
    if event.reason:
        return safe(event.reason)
    held = "; ".join(map(_at_the_gate, event.invariants))
    return f"gate {event.side} {event.stage}: {held or 'no invariant is declared'}"


def _at_the_gate(one: e.JudgedCriterion) -> str:
    unit, wanted = condition_unit(one.condition), one.condition
    if one.left_to is not None:
        before = number(one.left_to.before.value, unit)
        wanted += f": for {one.left_to.ticket_id} to restore, and no worse than {before} before"
    return f"{one.metric} {number(one.measured.value, unit)} ({wanted})"


def _canary(event: e.CanaryPassed | e.CanaryFailed) -> str:
    verdicts = "; ".join(
        f"{one.metric} {one.role} {one.verdict}"
        + (f" ({p_value(one.p_value)})" if one.p_value is not None else "")
        + (f", sees {number(one.smallest_harm, '%')} with 80 %" if one.smallest_harm is not None else "")
        for one in event.verdicts
    )
    sizes = f"{event.per_arm} requests and {event.keys} keys an arm, {event.looks} looks, alpha {event.alpha:g}"
    if event.guards_only:
        sizes = f"guards only: {event.per_arm} requests, {event.looks} looks, alpha {event.alpha:g}"
        if isinstance(event, e.CanaryPassed):
            return f"CANARY passed, {sizes}: {verdicts}{_left(event.left_to)}"
        return f"CANARY stopped: {safe(event.reason)} ({sizes}: {verdicts or 'nothing judged'}); taken back"
    if isinstance(event, e.CanaryPassed):
        return f"CANARY passed: {sizes}: {verdicts}"
    share = "" if event.stable_share is None else f", which answers {number(event.stable_share, '%')} of it"
    return (
        f"CANARY stopped: {safe(event.reason)} ({sizes}: {verdicts or 'nothing judged'}); "
        f"traffic is back on stable{share}"
    )


def _verified(event: e.CriteriaMet | e.CriteriaNotMet) -> str:
    criteria = "; ".join(
        f"{one.metric} {number(one.measured.value, condition_unit(one.condition))} ({one.condition})"
        + (f" {told(one.compared, one.met)}" if one.compared else "")
        + _left((one.left_to,) if one.left_to else ())
        for one in event.criteria
    )
    window = f"{event.samples} requests in {event.window_s:g} s"
    if isinstance(event, e.CriteriaMet):
        return f"VERIFY passed: {criteria}; {window}"
    kept = "; it is better than before, and kept" if event.kept else ""
    return f"VERIFY failed: {safe(event.reason)}; {criteria}; {window}{kept}"


def _left(ones: tuple[e.LeftTo, ...]) -> str:
    """``, left to INF-2: 95 % before``; the value itself stands elsewhere."""
    words = {True: "no worse than", False: "worse than", None: "not measured, like"}
    return "".join(
        f", {one.metric} left to {one.ticket_id}: {words[one.no_worse]} "
        f"{number(one.before.value, condition_unit(one.condition))} before"
        for one in ones
    )


def _measured(criterion: e.FrozenCriterion) -> str:
    return number(criterion.baseline.value if criterion.baseline else None, condition_unit(criterion.condition))


def _count(count: e.ArmCount) -> str:
    return f"{count.metric} {count.canary_bad}/{count.canary_total}"


def _arm_count(count: e.ArmCount) -> str:
    return f"{count.metric} {count.canary_bad}/{count.canary_total} v {count.baseline_bad}/{count.baseline_total}"


def _took(event: e.ActionTaken) -> str:
    if (usage := event.usage) is None:
        return ""
    tokens = ["?" if count is None else str(count) for count in (usage.tokens_in, usage.tokens_out)]
    cost = "" if usage.usd is None else f", {usage.usd:.4f} USD"
    again = f", {usage.requests} requests" if usage.requests > 1 else ""
    return f" [{usage.model}: {tokens[0]} tokens in, {tokens[1]} out{cost}{again}]"


def _arguments(arguments: dict[str, Any]) -> str:
    return safe(", ".join(f"{key}={_short(value)}" for key, value in arguments.items()))


def _short(value: Any, length: int = 44) -> str:
    text = str(value)
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _observation(event: e.ObservationRecorded, body: dict[str, Any]) -> str:
    if (told := dropped(body)) is not None:
        return safe(told)
    if not event.ok:
        return f"could not: {safe(_short(body.get('reason', body), 160))}"
    if event.tool == "query_metric":
        return safe(f"{body['metric']} is {body['value']}, {body['samples']} samples")
    if event.tool == "measure":
        return ", ".join(f"{name} min {min(values):.3g}" for name, values in body["measures"].items())
    if event.tool in ("git_diff", "revert_commit", "revert_release", "edit_file", "write_file"):
        lines = str(body.get("diff", "")).splitlines()
        added = sum(each.startswith("+") and not each.startswith("+++") for each in lines)
        removed = sum(each.startswith("-") and not each.startswith("---") for each in lines)
        return f"{added} lines added, {removed} removed"
    return safe(_short(", ".join(_said(key, value) for key, value in body.items() if key != "nodes") or "done", 160))


def _said(key: str, value: Any) -> str:
    """A field of an answer: lists and objects by their size, the rest as it is."""
    name = key.replace("_", " ")
    if isinstance(value, list):
        plain = all(isinstance(one, str | int | float) for one in value)
        return f"{name}: {', '.join(map(str, value)) or 'none'}" if plain else f"{len(value)} {name}"
    return f"{name} {len(value)} fields" if isinstance(value, dict) else f"{name} {value}"
