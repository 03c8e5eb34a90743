"""What each field of a scenario means, with an example, for its JSON Schema: read from the docstrings beside fields.

A docstring that ends with "E.g. `...`." gives the example, as YAML. Without one, the example is the default, the first
of the allowed values, or one of the field's kind.
"""

import ast
import inspect
import re
from collections.abc import Mapping
from itertools import pairwise
from textwrap import dedent
from typing import Any

import yaml

_EXAMPLE = re.compile(r"E\.g\. `([^`]+)`")
_NOTHING: tuple[Any, ...] = (None, [], {}, ())
_OF_KIND: dict[str, Any] = {"integer": 8, "number": 0.5, "boolean": True, "string": "name", "array": [1], "object": {}}


def field_docs(cls: type) -> dict[str, str]:
    """The docstring under each field of a class and of those that it extends; an own one wins."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        try:
            [definition] = ast.parse(dedent(inspect.getsource(base))).body
        except (OSError, TypeError, SyntaxError):  # no source: a builtin, or made at run time
            continue
        body = getattr(definition, "body", [])
        for field, text in pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                found[field.target.id] = inspect.cleandoc(str(text.value.value))
    return found


def describe(schema: dict[str, Any], cls: type) -> None:
    """Give the properties of a dataclass's schema the docstrings of its fields."""
    for name, text in field_docs(cls).items():
        if name in schema.get("properties", {}):
            schema["properties"][name]["description"] = text


def add_examples(schema: Any, definitions: Mapping[str, Any]) -> None:
    """Give every property in a JSON Schema, at any depth, an example."""
    if isinstance(schema, list):
        for part in schema:
            add_examples(part, definitions)
    elif isinstance(schema, dict):
        for field in schema.get("properties", {}).values() if isinstance(schema.get("properties"), dict) else ():
            if isinstance(field, dict) and "description" in field and "examples" not in field:
                field["examples"] = [_example(field, definitions)]
        for key, part in schema.items():
            if key not in ("examples", "default", "const", "enum"):
                add_examples(part, definitions)


def _example(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    told = _EXAMPLE.search(field["description"].replace("\n", " "))
    if told:
        return yaml.safe_load(told[1])
    if field.get("default") not in _NOTHING and not isinstance(field.get("default"), dict):
        return field["default"]
    return _of_kind(field, definitions)


def _of_kind(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    """The first value that such a schema allows, nulls apart."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "$ref" in schema:
        return _of_kind(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    for form in schema.get("anyOf", ()):
        if form.get("type") != "null":
            return _of_kind(form, definitions)
    if schema.get("required"):
        return {name: _of_kind(schema["properties"][name], definitions) for name in schema["required"]}
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    kind = schema.get("type", "string")
    value = _OF_KIND[kind if isinstance(kind, str) else kind[0]]
    return max(value, least) if least is not None and kind in ("integer", "number") else value
