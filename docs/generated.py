"""What the site tells of the code itself, for mkdocs: the scenario's fields and the commands' help.

A page says where with a comment, `<!-- generated: scenario -->` or `<!-- generated: commands -->`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import typer
from typer.main import get_command

from sim.cli.app import app, load_verbs
from sim.scenario import json_schema

SECTIONS = ("Workload", "Cluster", "Engine", "Slo", "Measure", "Pool", "Tenant", "Autoscaling")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for every page."""
    for name, made in (("scenario", scenario), ("commands", commands)):
        mark = f"<!-- generated: {name} -->"
        if mark in markdown:
            markdown = markdown.replace(mark, "\n".join(made()))
    return markdown


def scenario() -> Iterator[str]:
    """A table for each section of a scenario, then one for each option of a choice."""
    schema = json_schema()
    definitions = schema["$defs"]
    yield from _section("The file", schema)
    sections = {name: _key(name, definitions) for name in SECTIONS}
    for name, key in sections.items():
        yield from _section(name.lower(), definitions[key])
    yield "## Options of choices\n"
    for name, definition in sorted(definitions.items(), key=lambda pair: _title(pair[0])):
        if name not in sections.values() and definition.get("properties"):
            yield from _section(_title(name), definition, "###")


def _key(section: str, definitions: Iterable[str]) -> str:
    """Where a section is defined; an option of the same name lies in a module of its own."""
    option = f"__{section.lower()}__{section}"
    return next(key for key in definitions if key.split("__")[-1] == section and not key.endswith(option))


def _title(name: str) -> str:
    """A definition's name; pydantic writes equal ones with their modules."""
    parts = name.split("__")
    return parts[-1] if len(parts) < 3 else f"{parts[-1]} ({parts[-3]})"


def _section(title: str, definition: Mapping[str, Any], level: str = "##") -> Iterator[str]:
    yield f"{level} {title}\n"
    about = definition.get("description", "").split("\n\n")[0].replace("\n", " ")
    yield f"{about}\n\n| field | meaning | example |\n| --- | --- | --- |"
    for field, told in definition["properties"].items():
        meaning = told["description"].split(" E.g. `")[0].split("\nE.g. `")[0].replace("\n", " ").replace("|", "\\|")
        if field in definition.get("required", ()):
            meaning += " **Required.**"
        example = json.dumps(told["examples"][0]).replace("|", "\\|")
        yield f"| `{field}` | {meaning} | `{example}` |"
    yield ""


def commands() -> Iterator[str]:
    """The help of every command."""
    load_verbs()
    group: Any = get_command(app)
    with typer.Context(group, info_name="servecast") as context:
        yield from _commands(context, group, "servecast")


def _commands(context: Any, command: Any, name: str) -> Iterator[str]:
    for verb, part in sorted(command.commands.items()):
        inner = typer.Context(part, info_name=verb, parent=context)
        if hasattr(part, "commands"):
            yield from _commands(inner, part, f"{name} {verb}")
        else:
            yield f"## {name} {verb}\n\n```text\n{part.get_help(inner)}\n```\n"
