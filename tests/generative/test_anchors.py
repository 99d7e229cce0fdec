"""Whatever is done to a ledger behind its head's back, an anchor shows it, by its own name and from where on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.core.anchor import Anchor, Cited, Custody, asked_for, held_against, ledger_name, read_anchors
from harness.core.chain import Row, Walk, linked, opened, seal
from harness.core.record import GENESIS, Head, NewEvent, StreamWrite, Verification, drafted

NAMES = UUID("9a6f0a39-5e0c-4c0e-8a0d-54a5f8b7a114")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVENTS = 12

Tampering = Callable[[list[Row]], list[Row]]


def ledger(name: str, count: int) -> list[Row]:
    """An honest ledger; another name is another ledger, which began at another time."""
    told = [
        NewEvent(id=str(uuid5(NAMES, f"{name} {n}")), type="Seen", data={"n": n}, actor="harness", occurred_at=NOON)
        for n in range(count)
    ]
    writes = [StreamWrite(f"stream-{k}", None, told[k::3]) for k in range(3)]
    at = NOON + timedelta(seconds=len(name))
    return linked(drafted(writes), head=Head(0, GENESIS), versions={}, recorded_at=at)


def anew(rows: Sequence[Row]) -> list[Row]:
    """The rows as somebody writes them who computes every hash: a chain that holds."""
    prev_hash, written = GENESIS, []
    for row in rows:
        columns = (*row[:-2], prev_hash)
        prev_hash = seal(columns)
        written.append(Row(*columns, prev_hash))
    return written


def cut(keep: int) -> Tampering:
    return lambda rows: rows[:keep]


def rewritten(at: int, column: str, value: object) -> Tampering:
    """One event told otherwise, and the chain computed anew behind it."""

    def tamper(rows: list[Row]) -> list[Row]:
        return anew([row._replace(**{column: value}) if place == at else row for place, row in enumerate(rows)])

    return tamper


def altered(at: int, column: str, value: object) -> Tampering:
    """One column of one event, and nothing else."""
    return lambda rows: [row._replace(**{column: value}) if place == at else row for place, row in enumerate(rows)]


def without(at: int) -> Tampering:
    """An event taken out of the middle; who is clever closes the gap."""
    return lambda rows: rows[:at] + rows[at + 1 :]


def closed_up(at: int) -> Tampering:
    def tamper(rows: list[Row]) -> list[Row]:
        left, versions = [], dict[str, int]()
        for row in rows[:at] + rows[at + 1 :]:
            versions[row.stream] = versions.get(row.stream, 0) + 1
            left.append(row._replace(position=len(left) + 1, version=versions[row.stream]))
        return anew(left)

    return tamper


def swapped(at: int, other: int) -> Tampering:
    def tamper(rows: list[Row]) -> list[Row]:
        if max(at, other) < len(rows):
            rows[at], rows[other] = rows[other]._replace(position=at + 1), rows[at]._replace(position=other + 1)
        return rows

    return tamper


def grown(count: int) -> Tampering:
    """What an honest harness goes on to append to whatever it finds."""

    def tamper(rows: list[Row]) -> list[Row]:
        more = [
            NewEvent(id=str(uuid5(NAMES, f"later {n}")), type="Seen", data={}, actor="harness", occurred_at=NOON)
            for n in range(count)
        ]
        head = Head(rows[-1].position, rows[-1].hash) if rows else Head(0, GENESIS)
        return rows + linked(drafted([StreamWrite("later", None, more)]), head=head, versions={}, recorded_at=NOON)

    return tamper


places = st.integers(0, EVENTS - 1)
changes = st.sampled_from(
    [("data", '{"n":99}'), ("actor", "mallory"), ("type", "Unseen"), ("occurred_at_us", 0), ("causation_id", "x"),
     ("id", "9a6f0a39-5e0c-4c0e-8a0d-54a5f8b7a115"), ("recorded_at_us", 1), ("schema_version", 2)]
)  # fmt: skip
tamperings = (
    st.builds(cut, places)
    | st.builds(lambda at, change: rewritten(at, *change), places, changes)
    | st.builds(lambda at, change: altered(at, *change), places, changes)
    | st.builds(without, places)
    | st.builds(closed_up, places)
    | st.builds(swapped, places, places)
)


def custody(rows: Sequence[Row], cited: Sequence[Cited]) -> Custody:
    """What a verification finds, as the command line puts it together."""
    found = walked(rows)
    name = ledger_name(opened(rows[0])) if found.events else None
    hashes = {row.position: row.hash for row in rows if row.position in asked_for(found, cited)}
    return held_against(found, cited, ledger=name, hashes=hashes)


def walked(rows: Sequence[Row]) -> Verification:
    walk = Walk()
    for row in rows:
        if (fault := walk.step(row)) is not None:
            return fault
    return walk.held()


def anchors(rows: Sequence[Row], positions: Sequence[int], *, given: bool = True, named: bool = True) -> list[Cited]:
    """What was kept of an honest ledger, in any order."""
    name = ledger_name(opened(rows[0])) if named else None
    return [Cited(Anchor(at, rows[at - 1].hash, name), f"kept: {at}", given) for at in positions]


kept = st.lists(st.integers(1, EVENTS), unique=True).map(lambda some: [*some, EVENTS])


@settings(max_examples=150)
@given(
    done=st.lists(tamperings, min_size=1, max_size=3), later=st.integers(0, 15), positions=kept, named=st.booleans(),
    given=st.booleans(),
)  # fmt: skip
def test_any_tampering_is_detected_and_bounded_by_the_anchors_around_it(
    done: list[Tampering], later: int, positions: list[int], named: bool, given: bool
) -> None:
    # given a ledger of which the head, and some heads before it, are known elsewhere
    honest = ledger("ours", EVENTS)
    cited = anchors(honest, positions, given=given, named=named)
    assert custody(honest, cited).found.ok

    # when anything is done to it, by somebody who can write whatever he likes, and it is used on
    rows = list(honest)
    for tamper in done:
        rows = tamper(rows)
    first = next((n for n, pair in enumerate(zip(rows, honest, strict=False), 1) if pair[0] != pair[1]), len(rows) + 1)
    assume(first <= EVENTS)
    if walked(rows).ok:
        rows = grown(later)(rows)

    # then that is seen, at the first anchor behind it at the latest, and never before it
    seen = custody(rows, cited).found
    assert not seen.ok and seen.reason
    assert seen.first_bad_position is not None
    assert first <= seen.first_bad_position <= min(at for at in positions if at >= first)


@settings(max_examples=60)
@given(tamper=tamperings, later=st.integers(0, 3))
def test_with_an_anchor_at_every_event_the_first_bad_one_is_named_exactly(tamper: Tampering, later: int) -> None:
    honest = ledger("ours", EVENTS)
    rows = tamper(list(honest))
    first = next((n for n, pair in enumerate(zip(rows, honest, strict=False), 1) if pair[0] != pair[1]), len(rows) + 1)
    assume(first <= EVENTS)

    seen = custody(grown(later)(rows) if walked(rows).ok else rows, anchors(honest, range(1, EVENTS + 1))).found

    assert seen.first_bad_position == first
    assert seen.events in (0, first - 1)


@settings(max_examples=40)
@given(positions=kept, later=st.integers(0, 5), named=st.booleans())
def test_a_ledger_that_only_grew_matches_every_anchor_of_it(positions: list[int], later: int, named: bool) -> None:
    honest = ledger("ours", EVENTS)
    cited = anchors(honest, positions, named=named)

    assert custody(grown(later)(honest), cited) == Custody(walked(grown(later)(honest)), len(cited))


@settings(max_examples=40)
@given(keep=st.integers(0, EVENTS - 1), positions=kept)
def test_a_truncation_is_called_one(keep: int, positions: list[int]) -> None:
    honest = ledger("ours", EVENTS)
    seen = custody(honest[:keep], anchors(honest, positions)).found
    named = min(at for at in positions if at > keep)
    assert str(seen.reason).startswith(f"truncated: the ledger ends at position {keep}, and kept: {named} names")
    assert (seen.events, seen.first_bad_position) == (keep, keep + 1)


@settings(max_examples=40)
@given(at=places, positions=kept, later=st.integers(0, 5))
def test_a_rewriting_with_right_hashes_is_called_one(at: int, positions: list[int], later: int) -> None:
    honest = ledger("ours", EVENTS)
    rows = grown(later)(rewritten(at, "data", '{"n":99}')(honest))
    assert walked(rows).ok  # the chain itself sees nothing

    seen = custody(rows, anchors(honest, positions)).found

    good = max((one for one in positions if one <= at), default=0)
    bad = min(one for one in positions if one > at)
    assert str(seen.reason).startswith(f"rewritten: the event at position {bad} has the hash {rows[bad - 1].hash}")
    assert (seen.events, seen.first_bad_position) == (good, bad)
    assert seen.head == (honest[good - 1].hash if good else GENESIS)


@settings(max_examples=30)
@given(theirs=st.integers(1, 20), positions=kept, by_commits=st.booleans())
def test_another_file_in_the_ledgers_place_is_called_replaced(
    theirs: int, positions: list[int], by_commits: bool
) -> None:
    other = ledger("another", theirs)
    seen = custody(other, anchors(ledger("ours", EVENTS), positions, given=not by_commits)).found
    assert str(seen.reason).startswith("replaced: this is ledger ")
    assert ("or the anchor is not of this ledger" in str(seen.reason)) is not by_commits
    assert (seen.events, seen.first_bad_position) == (0, 1)


@settings(max_examples=30)
@given(theirs=st.integers(1, 20), positions=kept)
def test_an_anchor_of_another_ledger_is_called_foreign_where_this_one_is_known(
    theirs: int, positions: list[int]
) -> None:
    # given anchors in commits that say that this is the ledger that always was here, and one from elsewhere
    honest, other = ledger("ours", EVENTS), ledger("another", theirs)
    known = anchors(honest, positions, given=False)
    (foreign,) = anchors(other, [theirs])

    seen = custody(honest, [foreign, *known])

    assert str(seen.found.reason).startswith(f"foreign anchor: kept: {theirs} is of ledger {foreign.anchor.ledger}")
    assert (seen.found.events, seen.found.first_bad_position, seen.anchors) == (EVENTS, None, len(known))
    # a commit of another harness that was taken over says nothing, and is no alarm
    assert custody(honest, [foreign._replace(given=False), *known]).found.ok
    # and it hides no damage
    assert "truncated" in str(custody(honest[:-1], [foreign, *known]).found.reason)


@given(
    lines=st.lists(
        st.builds(Anchor, st.integers(1, 10**18 - 1), st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
                  st.none() | st.uuids().map(str), st.none()) |
        st.builds(Anchor, st.integers(1, 10**18 - 1), st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
                  st.uuids().map(str), st.datetimes(timezones=st.just(UTC))),
        min_size=1,
    )
)  # fmt: skip
def test_what_is_printed_is_read_again(lines: list[Anchor]) -> None:
    text = "# kept by hand\n\n" + "".join(f"{anchor.line()}\n" for anchor in lines)
    assert [one.anchor for one in read_anchors(text, "f")] == lines
    assert [one.source for one in read_anchors(text, "f")] == [f"f: {3 + n}" for n in range(len(lines))]
