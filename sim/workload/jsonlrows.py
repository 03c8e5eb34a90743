"""Rows of a JSONL file."""

import io
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sim.workload.jsonarray import json_elements
from sim.workload.rows import Block, Place, open_bytes, text_errors
from sim.workload.table import Floats, Ints

Convert: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Changes an object before its columns are taken; messages show what the file says."""

_BLOCK_ROWS = 1 << 14
_FIRST_ROWS = 100
_LONGEST_SPACE = 4096


@dataclass
class JsonlRows:
    """A file with one JSON object a line, or a list of them; blank lines do not count.

    `names` says what the file calls a column, where it has a name of its own; "usage.prompt_tokens" is prompt_tokens of
    the object `usage`. `converting` makes what changes each object, anew for each time that the file is read.
    """

    path: Path
    converting: Callable[[], Convert] | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def called(self, column: str) -> str:
        return self.names.get(column, column)

    def header(self) -> list[str]:
        """The keys of the first objects; of an object inside, with its name before them."""
        with self._lines() as lines:
            objects = [json_object(text) for _, text in islice(lines, _FIRST_ROWS)]
        return list(dict.fromkeys(name for row in objects for name in key_names(row)))

    def blocks(self, required: Sequence[str], optional: Sequence[str] = ()) -> Generator[Block, None, None]:
        convert = None if self.converting is None else self.converting()
        with self._lines() as lines:
            while texts := [text for _, text in islice(lines, _BLOCK_ROWS)]:
                rows: Sequence[Mapping[str, Any]] = [json_object(text) for text in texts]
                if convert is not None:
                    rows = [convert(dict(row)) for row in rows]
                yield {name: value_at(rows, self.called(name)) for name in (*required, *optional)}

    def numbers(self, column: Any) -> Floats:
        try:
            if set(map(type, column)) <= {int, float, type(None)}:
                return np.array(column, dtype=np.float64)
        except OverflowError:  # an integer beyond any float
            pass
        return np.array([_number_or_nan(value) for value in column], dtype=np.float64)

    def values(self, column: Any) -> list[Any]:
        return list(column)

    def merged(self, blocks: Sequence[Block]) -> Block:
        return {name: [value for block in blocks for value in block[name]] for name in blocks[0]}

    def taken(self, block: Block, order: Ints) -> Block:
        rows = order.tolist()
        return {name: [column[row] for row in rows] for name, column in block.items()}

    def places(self, rows: Sequence[int]) -> list[Place]:
        found: dict[int, Place] = {}
        wanted = set(rows)
        with self._lines() as lines:
            for row, (line, text) in enumerate(islice(lines, max(rows) + 1)):
                if row in wanted:
                    found[row] = Place(line, _flat(json_object(text)) or None, text.strip(), self._kind)
        return [found[row] for row in rows]

    def misshapen(self, before_row: int | None) -> list[Place]:
        return []  # a line that is no object is a row without values

    @cached_property
    def _kind(self) -> str:
        """What rows are in the file: lines, or entries of a list."""
        with text_errors(self.path), open_bytes(self.path) as file:
            first = file.read(_LONGEST_SPACE).decode("utf-8-sig", errors="ignore").lstrip()
        return "entry" if first.startswith("[") and first[1:].lstrip().startswith("{") else "line"

    @contextmanager
    def _lines(self) -> Iterator[Iterator[tuple[int, str]]]:
        if self._kind == "entry":
            yield ((number, json.dumps(element)) for number, element in enumerate(json_elements(self.path), 1))
            return
        with text_errors(self.path), open_bytes(self.path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8-sig")
            yield ((number, line) for number, line in enumerate(text, 1) if not line.isspace())


def json_object(text: str) -> dict[str, Any]:
    """The object on a line; an empty one when the line holds none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def key_names(row: Mapping[str, Any]) -> Iterator[str]:
    """An object's keys; of an object inside, with its name before them."""
    for key, value in row.items():
        if isinstance(value, dict):
            yield from (f"{key}.{inner}" for inner in key_names(value))
        else:
            yield key


def value_at(rows: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    """What every object says under a key, or under a path of keys with dots between; None where it says nothing."""
    found = [row.get(name) for row in rows]
    outer, dot, inner = name.partition(".")
    if not dot or any(value is not None for value in found):
        return found
    return value_at([value if isinstance(value := row.get(outer), dict) else {} for row in rows], inner)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """The object with what objects inside it hold, too, under their paths."""
    inside = {name: value_at([row], name)[0] for name in key_names(row) if name not in row}
    return {**row, **inside}


def _number_or_nan(value: Any) -> float:
    if type(value) is str:
        try:
            return float(value)
        except ValueError:
            return float("nan")
    if type(value) not in (int, float):
        return float("nan")
    try:
        return float(value)
    except OverflowError:
        return float("inf")
