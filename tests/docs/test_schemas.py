"""The JSON Schemas in docs/schemas are those of the models. Reads only the repository."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from scenarios.scenario import Scenario

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/schemas"
SCHEMAS: dict[str, str] = runpy.run_path(str(ROOT / "docs/generate.py"))["schemas"]()


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_on_disk_is_that_of_the_model(name: str) -> None:
    assert (FOLDER / name).read_text() == SCHEMAS[name]


def test_the_schema_of_incidents_knows_every_key_of_theirs() -> None:
    schema = json.loads((FOLDER / "scenario.schema.json").read_text())
    assert set(schema["properties"]) == {field.alias or name for name, field in Scenario.model_fields.items()}
    assert schema["additionalProperties"] is False
