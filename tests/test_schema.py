"""The JSON Schema tells an editor what every field means, with an example that may be written so."""

from collections.abc import Iterator
from typing import Any

import pytest

from sim.scenario import json_schema

jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, definition in (("Scenario", schema), *schema["$defs"].items()):
        for field, told in definition.get("properties", {}).items():
            yield f"{name}.{field}", told


def test_every_field_has_a_description_and_an_example(schema: dict[str, Any]) -> None:
    told = dict(fields(schema))
    assert len(told) > 400
    assert [name for name, field in told.items() if not field.get("description")] == []
    assert [name for name, field in told.items() if not field.get("examples")] == []


def test_every_example_is_valid(schema: dict[str, Any]) -> None:
    whole = jsonschema.Draft202012Validator(schema)
    wrong = [
        (name, field.get("examples"))
        for name, field in fields(schema)
        if not whole.evolve(schema=field).is_valid(field.get("examples", [None])[0])
    ]
    assert wrong == []
