"""The JSON Schemas in docs/schemas are those of the models. Reads only the repository."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scenarios.scenario import Scenario

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/schemas"
OF_EVENTS = sorted((FOLDER / "events").iterdir())
SCHEMAS: dict[str, str] = runpy.run_path(str(ROOT / "docs/generate.py"))["schemas"]()


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_on_disk_is_that_of_the_model(name: str) -> None:
    assert (FOLDER / name).read_text() == SCHEMAS[name]


def test_the_schema_of_incidents_knows_every_key_of_theirs() -> None:
    schema = json.loads((FOLDER / "scenario.schema.json").read_text())
    assert set(schema["properties"]) == {field.alias or name for name, field in Scenario.model_fields.items()}
    assert schema["additionalProperties"] is False


def models(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The event, and every value that it holds."""
    yield from (schema, *schema.get("$defs", {}).values())


@pytest.mark.parametrize("path", OF_EVENTS, ids=lambda path: path.name)
def test_the_schema_of_an_event_says_what_it_and_its_fields_mean_and_knows_every_key(path: Path) -> None:
    schema = json.loads(path.read_text())

    assert path.name.startswith(f"{schema['title']}.v")
    for model in models(schema):
        assert model["description"] and model["additionalProperties"] is False, model["title"]
        silent = [name for name, field in model.get("properties", {}).items() if not field.get("description")]
        assert silent == [], f"write a docstring below these fields of {model['title']}"
