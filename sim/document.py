"""YAML as it was written: plain values, and the line of every key, so that an error can point at it.

The rules for bare words are those of YAML 1.2: only true and false are booleans (`on`, `no` are words), 1e3
is a number, 12:30 and dates are text, 010 is ten. A key that stands twice is an error.
"""

import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from sim.errors import ScenarioError

KeyPath = tuple[str, ...]
Overrides: TypeAlias = str | Iterable[str] | Mapping[str, Any]
"""Changes to a scenario: texts like "engine.max_num_seqs=64", or a mapping like {"engine.max_num_seqs": 64}."""
_PLAIN = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


@dataclass(frozen=True)
class Document:
    """Plain data with its origin: a file and its lines, or one --set."""

    data: dict[str, Any]
    source: str
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def where(self, path: KeyPath) -> str:
        """ "file, line 7" of the deepest part of `path` that was written, or the source alone."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return f"{self.source}, line {self.lines[path[:length]]}"
        return self.source


def read(path: Path) -> Document:
    """The mapping in the YAML file at `path`; raises ScenarioError naming the file and line."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise ScenarioError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        resolved = path / "scenario.resolved.yaml"
        mend = f"for a folder of results: `servecast report {path}`, or give {resolved}"
        raise ScenarioError(f"{path}: is a folder; {mend}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: cannot be read ({error})") from None


def parse(text: str, source: str) -> Document:
    """The mapping in the YAML `text`; raises ScenarioError naming the source and line."""
    lines: dict[KeyPath, int] = {}
    data = _value(text, source, lines)
    if not isinstance(data, dict):
        found = "nothing" if data is None else f"{type(data).__name__} {data!r}"[:60]
        raise ScenarioError(f"{source}: must hold `key: value` lines, but holds {found}")
    return Document(data, source, lines)


def parse_overrides(overrides: Overrides) -> list[Document]:
    """What changes to a scenario say, as nested mappings. Raises ScenarioError for one that is none."""
    if isinstance(overrides, Mapping):
        return [_override(key, value) for key, value in overrides.items()]
    return [parse_override(text) for text in _texts(overrides)]


def repeatable(overrides: Overrides) -> Overrides:
    """The same changes, which can be gone through more than once."""
    return overrides if isinstance(overrides, Mapping) else _texts(overrides)


def _texts(overrides: str | Iterable[str]) -> list[str]:
    return [overrides] if isinstance(overrides, str) else list(overrides)


def _override(key: Any, value: Any) -> Document:
    source = f"overrides[{key!r}]"
    keys = key.split(".") if isinstance(key, str) else []
    if not keys or not all(keys):
        raise ScenarioError(f"{source}: a key is text like 'engine.max_num_seqs'")
    for part in reversed(keys):
        value = {part: value}
    return Document(value, source)


def parse_override(text: str) -> Document:
    """What `--set a.b=value` says, as nested mappings; the value is YAML."""
    source = f"--set {text}"
    if not isinstance(text, str):
        raise ScenarioError(f"an override is text like 'engine.max_num_seqs=64', not {text!r}")
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ScenarioError(f"{source}: write --set key.subkey=value")
    nested = _value(value, source, {})
    for key in reversed(keys):
        nested = {key: nested}
    return Document(nested, source)


def _value(text: str, source: str, lines: dict[KeyPath, int]) -> Any:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else _construct(loader, node, (), lines)
    except yaml.MarkedYAMLError as error:
        at = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ScenarioError(f"{source}{at}: not valid YAML: {_in_words(error)}") from None
    except yaml.YAMLError as error:
        raise ScenarioError(f"{source}: not valid YAML: {error}") from None
    except RecursionError:
        raise ScenarioError(f"{source}: nested too deeply, or an alias holds itself") from None


def _in_words(error: yaml.MarkedYAMLError) -> str:
    """What the parser says, with the mend for what people run into most."""
    problem = error.problem or error.context or ""
    mends = {
        "expected <block end>": "this line, or the one above, is indented differently from its neighbours",
        "mapping values are not allowed here": "a colon too many; check the indentation, or quote the text",
        "found character '\\t'": "a tab; indent with spaces",
        "could not find expected ':'": "a key without a colon behind it, here or above",
        "expected ',' or ": f"{problem}; a bracket is not closed, or a comma is missing",
    }
    return next((mend for start, mend in mends.items() if problem.startswith(start)), problem)


def _construct(loader: "_Loader", node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int]) -> Any:
    if path:
        lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.CollectionNode) and node.tag not in _PLAIN:
        raise yaml.MarkedYAMLError(problem=f"unknown tag {node.tag!r}", problem_mark=node.start_mark)
    if isinstance(node, yaml.SequenceNode):
        return [_construct(loader, child, (*path, str(index)), lines) for index, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        _refuse_duplicates(loader, node)
        loader.flatten_mapping(node)  # `<<` merges
        result = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node)
            if type(key) in (int, float):
                key = key_node.value  # a name, of a variant perhaps: as it was written
            lines[(*path, str(key))] = key_node.start_mark.line + 1
            result[key] = _construct(loader, value_node, (*path, str(key)), lines)
        return result
    return loader.construct_object(node)


def _refuse_duplicates(loader: "_Loader", node: yaml.MappingNode) -> None:
    seen: dict[Hashable, int] = {}
    for key_node, _ in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key must be one word", problem_mark=key_node.start_mark)
        key = key_node.value
        if key in seen:
            problem = f"{key!r} stands twice, here and in line {seen[key]}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
        seen[key] = line


class _Loader(yaml.SafeLoader):
    """SafeLoader with the bare words of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = node.value
    return int(text, 16) if text.lower().lstrip("+-").startswith("0x") else int(text)


_DIGIT_FIRST = list("+-0123456789")
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", _DIGIT_FIRST),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", [*_DIGIT_FIRST, "."]),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", [*_DIGIT_FIRST, "."]),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
