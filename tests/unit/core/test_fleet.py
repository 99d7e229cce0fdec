"""Which nodes are declared after what is on record: what tickets do counts, a loss does not."""

from __future__ import annotations

from typing import Any

from harness.core.fleet import Fleet


def seen(*nodes: str) -> tuple[str, dict[str, Any]]:
    return "FleetChanged", {"nodes": list(nodes)}


def step(verb: str, node: str, *, back: bool = False, ok: bool = True) -> tuple[str, dict[str, Any]]:
    return "OperationStepped", {"verb": verb, "node": node, "back": back, "ok": ok}


def after(*happened: tuple[str, dict[str, Any]]) -> Fleet:
    fleet = Fleet()
    for kind, data in happened:
        fleet = fleet.after(kind, data)
    return fleet


THREE = seen("n1", "n2", "n3")
LOST = seen("n1", "n3")


def drift(*happened: tuple[str, dict[str, Any]]) -> tuple[str, str]:
    fleet = after(*happened)
    return fleet.more().partition(":")[0], fleet.fewer().partition(":")[0]


def test_the_fleet_that_is_first_seen_is_the_declared_one() -> None:
    assert drift() == drift(THREE) == ("", "")
    assert drift(("WatchBeat", {}), THREE, ("CriteriaMet", {})) == ("", "")


def test_a_node_that_goes_or_comes_by_no_ticket_is_told() -> None:
    assert drift(THREE, LOST) == ("", "n2")
    assert drift(THREE, seen("n1", "n2", "n3", "n4")) == ("n4", "")
    assert drift(THREE, LOST, seen("n1", "n3", "n4")) == ("n4", "n2")
    # and no longer once it is back
    assert drift(THREE, LOST, THREE) == ("", "")


def test_what_a_ticket_starts_or_removes_changes_what_is_declared() -> None:
    grown = (THREE, step("start", "n4"), seen("n1", "n2", "n3", "n4"))
    assert drift(*grown) == ("", "")
    # whichever is recorded first, what was done or what was seen of it
    assert drift(THREE, seen("n1", "n2", "n3", "n4"), step("start", "n4")) == ("", "")
    assert drift(*grown, step("drain", "n1"), step("remove", "n1"), seen("n2", "n3", "n4")) == ("", "")
    assert drift(*grown, seen("n2", "n3", "n4"), step("remove", "n1")) == ("", "")
    # and what is lost then is one of four
    assert drift(*grown, seen("n1", "n2", "n3")) == ("", "n4")


def test_a_node_that_was_started_and_died_before_it_was_seen_is_missing() -> None:
    assert drift(THREE, step("start", "n4")) == ("", "n4")


def test_a_node_that_is_started_for_a_lost_one_makes_the_loss_good_and_nothing_grows() -> None:
    repaired = (THREE, LOST, step("start", "n4"), seen("n1", "n3", "n4"))
    assert drift(*repaired) == ("", "") and after(*repaired).declared == ("n1", "n3", "n4")
    # of two lost ones, one start makes good one
    two = (THREE, seen("n1"), step("start", "n4"), seen("n1", "n4"))
    assert drift(*two) == ("", "n3")
    assert drift(*two, step("start", "n5"), seen("n1", "n4", "n5")) == ("", "")


def test_a_repair_that_is_taken_back_leaves_the_loss() -> None:
    taken_back = (THREE, LOST, step("start", "n4", ok=False), step("drain", "n4", back=True),
                  step("remove", "n4", back=True))  # fmt: skip
    assert drift(*taken_back) == ("", "n2")
    # which the next attempt makes good
    assert drift(*taken_back, step("start", "n5"), seen("n1", "n3", "n5")) == ("", "")


def test_a_removal_that_is_taken_back_is_the_same_fleet_under_another_name() -> None:
    taken_back = (THREE, step("remove", "n3"), seen("n1", "n2"), step("start", "n4", back=True))
    assert drift(*taken_back, seen("n1", "n2", "n4")) == ("", "")
    # and makes nothing good that was lost meanwhile
    lost_meanwhile = (THREE, step("remove", "n3"), seen("n1"), step("start", "n4", back=True), seen("n1", "n4"))
    assert drift(*lost_meanwhile) == ("", "n2")


def test_a_start_of_which_nothing_is_known_changes_nothing() -> None:
    assert drift(THREE, step("start", "", ok=False)) == ("", "")
