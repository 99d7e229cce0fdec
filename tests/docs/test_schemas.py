"""The JSON Schemas in docs/schemas are those of the models. Reads only the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.adapters.declarations import schemas

FOLDER = Path(__file__).parents[2] / "docs/schemas"


@pytest.mark.parametrize("name", schemas())
def test_the_schema_on_disk_is_that_of_the_model(name: str) -> None:
    assert (FOLDER / name).read_text() == schemas()[name]
