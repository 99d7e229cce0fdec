"""What the page says that a ticket can say is understood, and says the same again. Reads the page and the grammar."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from harness.core.constraint import FORMS, Constraint
from harness.core.criteria import Condition, Duration
from harness.core.units import UNITS
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/ticket-grammar.md").read_text()


def forms(heading: str) -> list[str]:
    """What stands in the first column below a heading."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) \|", section, re.MULTILINE)
    return [form for row in rows for form in re.findall(r"`([^`]+)`", row)]


@pytest.mark.parametrize(
    ("heading", "parse"),
    [("Conditions", Condition.parse), ("Durations", Duration.parse), ("Constraints", Constraint.parse)],
)
def test_every_form_on_the_page_is_understood(
    heading: str, parse: Callable[[str], Condition | Duration | Constraint]
) -> None:
    written = forms(heading)

    assert len(written) >= 3
    assert [parse(form).text for form in written] == written


def test_every_constraint_and_every_unit_that_is_understood_is_on_the_page() -> None:
    known = {type(Constraint.parse(form)) for form in re.findall(r"`([^`]+)`", FORMS)}

    assert {type(Constraint.parse(form)) for form in forms("Constraints")} == known
    units = re.split(r"[ ,]+", PAGE.partition("Units: ")[2].partition(";")[0])
    assert set(units) == {unit for unit in UNITS if unit}
