"""What the site tells of the code itself, for mkdocs: fields of a scenario, commands, and what shipped scenarios found.

A page says where with a comment, `<!-- generated: scenario -->`, `... commands -->` or `... findings -->`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import typer
import yaml
from typer.main import get_command

from sim.cli.app import app, load_verbs
from sim.scenario import json_schema, shipped


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for every page."""
    for name, made in (("scenario", scenario), ("commands", commands), ("findings", findings)):
        mark = f"<!-- generated: {name} -->"
        if mark in markdown:
            markdown = markdown.replace(mark, "\n".join(made()))
    return markdown


def on_page_content(html: str, **_: Any) -> str:
    """Called by mkdocs for every page: a picture is a link to itself, so that it can be looked at closely."""
    return re.sub(r'(<img [^>]*src="([^"]+)"[^>]*>)', r'<a href="\2">\1</a>', html)


def scenario() -> Iterator[str]:
    """A table for the file, and after it one for every section and every choice, each where it is first met."""
    schema = json_schema()
    yield from _Reference(schema["$defs"]).section("", schema)


class _Reference:
    """Writes tables, and remembers under which path each section and each choice was told."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self.definitions = definitions
        self.told: dict[str, str] = {}

    def section(self, path: str, definition: Mapping[str, Any]) -> Iterator[str]:
        """The fields of a section, then the sections and choices in it that were not told before."""
        rows, below = self.fields(path, definition, definition["properties"])
        yield f"{_heading(path)}\n\n{_about(definition)}\n\n{_table(rows)}\n"
        yield from self.told_below(below)

    def choice(self, path: str, options: Mapping[str, str]) -> Iterator[str]:
        """A table of options and their parameters; those that most options have alike come last, once."""
        shared = _shared({option: self.definitions[name].get("properties", {}) for option, name in options.items()})
        rows, below = [], []
        for option, name in options.items():
            definition = self.definitions[name]
            rows.append(f"| **`{option}`** | {_about(definition)} | |")
            fields = definition.get("properties", {})
            own = {field: shape for field, shape in fields.items() if shape != shared.get(field, ({}, ""))[0]}
            more, deeper = self.fields(path, definition, own, "· ")
            rows, below = rows + more, below + deeper
        yield f"{_heading(path)}\n\nOne of these, with its parameters below it:\n\n{_table(rows, 'option')}\n"
        if shared:
            needed = {field for name in options.values() for field in self.definitions[name].get("required", ())}
            fields = {field: shape for field, (shape, _) in shared.items()}
            notes = {field: note for field, (_, note) in shared.items()}
            rows, deeper = self.fields(path, {"required": needed}, fields, notes=notes)
            yield f"Parameters that they share:\n\n{_table(rows)}\n"
            below += deeper
        yield from self.told_below(below)

    def fields(
        self,
        path: str,
        definition: Mapping[str, Any],
        fields: Mapping[str, Any],
        indent: str = "",
        notes: Mapping[str, str] | None = None,
    ) -> tuple[list[str], list[tuple[str, Any]]]:
        """A row for each field, and (path, section or options) of what is to be told below the table."""
        rows, below = [], []
        for field, shape in fields.items():
            inner = f"{path}.{field}" if path else field
            target = ""
            for held in (*_sections(shape), *filter(None, [_options(shape)])):
                name = held if isinstance(held, str) else str(sorted(held.items()))
                if name not in self.told:
                    self.told[name] = inner
                    below.append((inner, held))
                target = self.told[name]
            required = field in definition.get("required", ())
            rows.append(_row(field, shape, required, target, indent, (notes or {}).get(field, "")))
        return rows, below

    def told_below(self, below: list[tuple[str, Any]]) -> Iterator[str]:
        for path, held in below:
            yield from self.section(path, self.definitions[held]) if isinstance(held, str) else self.choice(path, held)


def _heading(path: str) -> str:
    return f"{'###' if '.' in path else '##'} {path or 'The file'} {{#{_anchor(path) or 'file'}}}"


def _shared(fields: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[Any, str]]:
    """field -> (shape, which options lack it), for what more than half of at least three options have alike."""
    found: dict[str, tuple[Any, str]] = {}
    for field, shape in ((field, shape) for own in fields.values() for field, shape in own.items()):
        without = [option for option, own in fields.items() if own.get(field) != shape]
        if len(fields) > 2 and len(without) < len(fields) / 2:
            found[field] = shape, f" Not of {', '.join(f'`{option}`' for option in without)}." if without else ""
    return found


def _row(field: str, shape: Mapping[str, Any], required: bool, told_at: str, indent: str, note: str) -> str:
    meaning = _one_line(re.sub(r"\s*E\.g\.\s+`[^`]*`\.?", "", shape["description"]))
    default = shape.get("default")
    if required:
        meaning += " **Required.**"
    elif isinstance(default, str | int | float) and "default" not in meaning:
        meaning += f" Default: `{_yaml(default)}`."
    name = f"[`{field}`](#{_anchor(told_at)})" if told_at else f"`{field}`"
    return f"| {indent}{name} | {meaning}{note} | `{_yaml(shape['examples'][0])}` |"


def _table(rows: list[str], first: str = "field") -> str:
    return "\n".join([f"| {first} | meaning | example |", "| --- | --- | --- |", *rows])


def _about(definition: Mapping[str, Any]) -> str:
    return _one_line(definition.get("description", "").split("\n\n")[0])


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "&#124;")


def _yaml(value: Any) -> str:
    """A value as it is written in a scenario, on one line."""
    written = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return written.removesuffix("\n").removesuffix("\n...")


def _anchor(path: str) -> str:
    return path.replace(".", "-")


def _parts(shape: Any) -> Iterator[dict[str, Any]]:
    """The shape and all that it is made of."""
    if isinstance(shape, list):
        for part in shape:
            yield from _parts(part)
    elif isinstance(shape, dict):
        yield shape
        for key in ("anyOf", "items", "additionalProperties"):
            yield from _parts(shape.get(key))


def _sections(shape: Any) -> list[str]:
    """The definitions that a field holds itself."""
    return [part["$ref"].removeprefix("#/$defs/") for part in _parts(shape) if "$ref" in part]


def _options(shape: Any) -> dict[str, str]:
    """The options of a choice: name -> definition."""
    found = {}
    for part in _parts(shape):
        fields = part.get("properties", {})
        if len(fields) == 1 and part.get("required") == list(fields):
            [(name, parameters)] = fields.items()
            [found[name]] = _sections(parameters)
    return found


def commands() -> Iterator[str]:
    """Every command: what it does, an example, and its options."""
    load_verbs()
    group: Any = get_command(app)
    yield from _commands(typer.Context(group, info_name="servecast"), group, "servecast")


def _commands(context: Any, group: Any, name: str) -> Iterator[str]:
    """Plain verbs first, then those that have verbs of their own."""
    for verb, command in sorted(group.commands.items(), key=lambda pair: (hasattr(pair[1], "commands"), pair[0])):
        inner = typer.Context(command, info_name=verb, parent=context)
        if not hasattr(command, "commands") or command.invoke_without_command:
            yield _command(inner, command, f"{name} {verb}")
        if hasattr(command, "commands"):
            yield from _commands(inner, command, f"{name} {verb}")


def _command(context: Any, command: Any, name: str) -> str:
    about, *examples = (command.help or "").split("\b\n")
    records = [parameter.get_help_record(context) for parameter in command.params]
    rows = [f"| `{' '.join(option.split())}` | {_one_line(meaning)} |" for option, meaning in filter(None, records)]
    shown = "".join(f"```sh\n{example.strip()}\n```\n\n" for example in examples)
    table = "\n".join(["| argument or option | meaning |", "| --- | --- |", *rows]) if rows else ""
    return f"## {name}\n\n{about.strip()}\n\n{shown}{table}\n"


def findings() -> Iterator[str]:
    """Question and finding of every scenario that ships, from the comment at its head; the papers' have a table."""
    for name, path in sorted(shipped().items()):
        if not name.startswith("papers/"):
            comment = [line[1:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
            _, question, finding = re.split(r"^ (?:Question|Finding): ", "\n".join(comment), flags=re.MULTILINE)[:3]
            finding = re.split(r"^ [A-Z][a-z]+: ", finding, flags=re.MULTILINE)[0]
            listed = re.sub(r"^ - ", "\n- ", finding, count=1, flags=re.MULTILINE)
            text = "\n".join(line.removeprefix(" ") for line in listed.splitlines())
            yield f"### {name}\n\n*{_one_line(question)}*\n\n{text}\n"
