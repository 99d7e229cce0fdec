"""Of what receivers are told, what their answers mean, and how long is waited between two tries."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import Invalid
from harness.core.events import EVENTS
from harness.core.notice import LONGEST_PAUSE_S, TYPES, Notifications, Type, meaning, pause_s

PEOPLE = {"name": "people", "url_from": "HARNESS_WEBHOOK_URL", "tell": ["ticket.escalated"]}


def test_every_type_of_a_notice_has_an_event_and_every_event_is_there() -> None:
    assert set(TYPES.values()) == set(get_args(Type))
    assert set(TYPES) <= set(EVENTS)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"url_from": "HARNESS_URL"}, "receivers[0].url_from: "),
        ({"url_from": "https://chat.example/hook"}, "receivers[0].url_from: "),
        ({"secret_from": "lower_SECRET"}, "receivers[0].secret_from: "),
        ({"name": "two words"}, "receivers[0].name: "),
        ({"tell": []}, "receivers[0].tell: "),
        ({"tell": ["ticket.solved"]}, "receivers[0].tell[0]: "),
        ({"url": "x"}, "receivers[0].url: unknown key"),
    ],
)
def test_a_receiver_that_could_not_be_told_is_refused_by_its_place(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(Invalid, match=r"^policy\.yaml: ") as caught:
        Notifications.parse({"give_up_after": "1d", "receivers": [PEOPLE | change]}, "policy.yaml")
    assert fault in str(caught.value)


def test_two_receivers_of_one_name_are_refused() -> None:
    with pytest.raises(Invalid, match="'people' is there twice"):
        Notifications.parse({"give_up_after": "1d", "receivers": [PEOPLE, PEOPLE]}, "policy.yaml")


@pytest.mark.parametrize(
    ("status", "means"),
    [(200, "taken"), (204, "taken"), (302, "again"), (400, "refused"), (401, "again"), (404, "again"), (408, "again"),
     (410, "refused"), (422, "refused"), (429, "again"), (500, "again"), (503, "again"), (None, "again")],
)  # fmt: skip
def test_what_a_person_or_time_may_mend_is_tried_again(status: int | None, means: str) -> None:
    assert meaning(status) == means


@given(st.integers(1, 10_000), st.none() | st.floats(0, 1e9), st.floats(0, 1))
def test_a_pause_is_never_longer_than_the_longest_nor_shorter_than_asked_for(
    failures: int, asked_s: float | None, chance: float
) -> None:
    pause = pause_s(failures, asked_s, chance)
    assert 0.5 <= pause <= LONGEST_PAUSE_S
    assert pause >= min(asked_s or 0.0, LONGEST_PAUSE_S)
    assert pause_s(failures + 1, asked_s, chance) >= pause
