"""Splits of random corpora: kin are never parted, and what came first is not moved by what comes later."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.splits import SPLITS, Kin, lineage, splits

CORPORA = st.lists(
    st.tuples(st.one_of(st.none(), st.integers(0, 8)), st.lists(st.integers(0, 20), max_size=2)), max_size=25
)


def corpus(drawn: list[tuple[int | None, list[int]]]) -> list[Kin]:
    """Tickets in the order of filing; each can come only from tickets before it."""
    return [
        Kin(f"INF-{n}", None if cause is None else f"cause-{cause}", tuple({f"INF-{one}" for one in before if one < n}))
        for n, (cause, before) in enumerate(drawn)
    ]


@given(CORPORA)
def test_tickets_of_one_cause_or_one_lineage_stand_in_one_split(drawn: list[tuple[int | None, list[int]]]) -> None:
    tickets = corpus(drawn)
    found = splits(tickets)

    assert set(found) == {one.ticket for one in tickets} and set(found.values()) <= set(SPLITS)
    for one in tickets:
        assert {found[name] for name in one.comes_from} <= {found[one.ticket]}
        alike = {found[other.ticket] for other in tickets if one.fingerprint and other.fingerprint == one.fingerprint}
        assert alike <= {found[one.ticket]}


@given(CORPORA)
def test_a_new_cause_moves_nobody(drawn: list[tuple[int | None, list[int]]]) -> None:
    tickets = corpus(drawn)

    assert splits(tickets).items() <= splits([*tickets, Kin("INF-new", "a-new-cause")]).items()


@settings(max_examples=1)
@given(st.just(None))
def test_many_causes_fill_every_split_about_as_declared(_: None) -> None:
    found = Counter(splits(Kin(f"INF-{n}", f"cause-{n}") for n in range(5_000)).values())

    assert 3_800 < found["train"] < 4_200 and 400 < found["validation"] < 600 and 400 < found["test"] < 600


def test_a_lineage_is_told_oldest_first_and_ends_even_in_a_circle() -> None:
    assert lineage("c", {"a": None, "b": "a", "c": "b"}) == ["a", "b"]
    assert lineage("a", {"a": "b", "b": "a"}) == ["b"]
