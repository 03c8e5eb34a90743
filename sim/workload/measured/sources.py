"""Files of measurements as columns: CSV, JSON lines, a JSON list, or the result of a benchmark."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sim.errors import TraceError
from sim.workload.csvrows import CsvRows
from sim.workload.jsonlrows import JsonlRows, key_names, value_at
from sim.workload.measured.bench import bench_columns, bench_notes, is_bench
from sim.workload.rows import open_bytes, text_errors
from sim.workload.table import Floats


class Source(Protocol):
    """Columns of equal length by the names that the file gives them; `load` those that are wanted, first."""

    names: Sequence[str]
    notes: Sequence[str]

    def load(self, names: Sequence[str]) -> None: ...

    def numbers(self, name: str) -> Floats:
        """A column as f8, NaN for whatever is no number."""
        ...

    def values(self, name: str) -> list[Any]:
        """A column as Python values, None for missing ones."""
        ...

    def where(self, row: int) -> str:
        """The file and the place in it of row `row`, counted from 0."""
        ...

    def misshapen(self) -> list[str]:
        """What is wrong with rows that are none: the place and the reason."""
        ...


def open_source(path: Path) -> Source:
    """The measurements in a file; its content, not its name, tells the format.

    Raises TraceError when there is no such file or it cannot be read as any of the formats.
    """
    if not path.exists():
        raise TraceError(f"there is no file {path}")
    with open_bytes(path) as file:
        first = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return _json_source(path) if first in (b"{", b"[") else _Csv(path)


def _json_source(path: Path) -> Source:
    with open_bytes(path) as file, text_errors(path):
        text = file.read().decode("utf-8-sig")
    try:
        data: Any = json.loads(text)
    except RecursionError:
        raise TraceError(f"{path} is nested too deeply; give a file of plain rows") from None
    except ValueError:
        return _lines(path, text)
    if isinstance(data, list):
        return _Objects(path, data, [f"entry {i}" for i in range(1, len(data) + 1)])
    if is_bench(data):
        return _Bench(path, data)
    return _Objects(path, [data], ["line 1"])


def _lines(path: Path, text: str) -> Source:
    """JSON lines, or several results that a benchmark appended to one file."""
    numbered = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    objects = [_object(line) for _, line in numbered]
    results = [value for value in objects if is_bench(value)]
    if len(results) > 1:
        raise TraceError(f"{path} holds {len(results)} benchmark results; give each its own file")
    return _Objects(path, objects, [f"line {n}" for n, _ in numbered])


def _object(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


class _Csv:
    """A CSV file with a header line."""

    def __init__(self, path: Path) -> None:
        self.rows = CsvRows(path)
        self.names: Sequence[str] = self.rows.header()
        self.notes: Sequence[str] = ()
        self.blocks: list[Mapping[str, Any]] = []

    def load(self, names: Sequence[str]) -> None:
        self.blocks = list(self.rows.blocks(names))

    def numbers(self, name: str) -> Floats:
        parts = [self.rows.numbers(block[name]) for block in self.blocks]
        return np.concatenate(parts) if parts else np.empty(0)

    def values(self, name: str) -> list[Any]:
        texts = [value for block in self.blocks for value in self.rows.values(block[name])]
        return [text.strip() or None if text is not None else None for text in texts]

    def where(self, row: int) -> str:
        return f"{self.rows.path}, {self.rows.places([row])[0].where}"

    def misshapen(self) -> list[str]:
        return [f"{self.rows.path}, line {place.line}: {place.text}" for place in self.rows.misshapen(None)]


class _Objects:
    """JSON objects, one per request; "usage.prompt_tokens" is prompt_tokens of the object `usage`."""

    def __init__(self, path: Path, objects: list[Any], places: list[str]) -> None:
        kept = [(place, value) for place, value in zip(places, objects, strict=True) if isinstance(value, dict)]
        self.path = path
        self.places = [place for place, _ in kept]
        self.objects = [value for _, value in kept]
        self.bad = [place for place, value in zip(places, objects, strict=True) if not isinstance(value, dict)]
        self.names: Sequence[str] = list(dict.fromkeys(name for value in self.objects for name in _names(value)))
        self.notes: Sequence[str] = ()

    def load(self, names: Sequence[str]) -> None:
        pass

    def numbers(self, name: str) -> Floats:
        return JsonlRows(self.path).numbers(self.values(name))

    def values(self, name: str) -> list[Any]:
        return value_at(self.objects, name)

    def where(self, row: int) -> str:
        return f"{self.path}, {self.places[row]}"

    def misshapen(self) -> list[str]:
        return [f"{self.path}, {place}: not a JSON object" for place in self.bad]


def _names(row: Mapping[str, Any]) -> list[str]:
    """An object's keys, those of objects inside, too; an error counts as a whole, whatever it holds."""
    return [*(name for name in ("error", "errors") if name in row), *key_names(row)]


class _Bench:
    """The lists of a benchmark's result."""

    def __init__(self, path: Path, data: Mapping[str, Any]) -> None:
        self.path = path
        self.columns = bench_columns(data, path)
        self.names: Sequence[str] = list(self.columns)
        self.notes: Sequence[str] = bench_notes(data)

    def load(self, names: Sequence[str]) -> None:
        pass

    def numbers(self, name: str) -> Floats:
        return JsonlRows(self.path).numbers(self.values(name))

    def values(self, name: str) -> list[Any]:
        return self.columns[name]

    def where(self, row: int) -> str:
        return f"{self.path}, request {row} (from 0)"

    def misshapen(self) -> list[str]:
        return []
