"""Rows of CSV and JSONL files, a block of columns at a time, and where in the file a row stands.

Blocks keep a slice of a huge file cheap: reading stops when the slice is full. Line numbers are not kept;
they are found by reading the file once more, when there is something to say about a row.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv

from sim.errors import TraceError
from sim.workload.table import MAX_TOKENS, Bools, Floats, Ints

Block: TypeAlias = Mapping[str, Any]
"""Columns of equal length by name, in the reader's own form; absent columns are absent."""

_CSV_BLOCK_BYTES = 1 << 20
_JSONL_BLOCK_ROWS = 1 << 14


@dataclass(frozen=True)
class Place:
    """One row in its file: line number (from 1), values by column (None when it has no columns), text."""

    line: int
    values: Mapping[str, Any] | None
    text: str


class Rows(Protocol):
    """A file of rows. Well-formed rows are numbered from 0; `locate` tells a row's line."""

    @property
    def path(self) -> Path: ...

    def blocks(self, required: Sequence[str], optional: Sequence[str] = ()) -> Generator[Block, None, None]:
        """Blocks of the wanted columns. Raises TraceError when the file cannot be read as such rows."""
        ...

    def numbers(self, column: Any) -> Floats:
        """A column as f8, NaN for whatever is no number."""
        ...

    def values(self, column: Any) -> list[Any]:
        """A column as Python values, None for missing ones."""
        ...

    def locate(self, row: int) -> Place:
        """Where row `row` stands."""
        ...

    def misshapen(self, before_row: int | None) -> list[Place]:
        """Lines with the wrong number of fields ahead of row `before_row` (None: in the whole file)."""
        ...


@dataclass
class CsvRows:
    """A comma-separated file with a header line; names are matched exactly, further columns ignored."""

    path: Path
    _misshapen_seen: bool = field(default=False, init=False)

    def blocks(self, required: Sequence[str], optional: Sequence[str] = ()) -> Generator[Block, None, None]:
        header = self.header()
        for name in required:
            if name not in header:
                raise TraceError(f"{self.path}, line 1: there is no column {name!r}; found {', '.join(header)}")
        wanted = [name for name in (*required, *optional) if name in header]
        for name in wanted:
            if header.count(name) > 1:
                raise TraceError(f"{self.path}, line 1: column {name!r} stands there twice; rename one")
        with self._lines() as lines:
            if len(list(islice(lines, 2))) < 2:
                return  # a header alone, which Arrow does not read when its line is not ended
        with text_errors(self.path), open_bytes(self.path) as file:
            reader = arrow_csv.open_csv(
                file,
                read_options=arrow_csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK_BYTES),
                parse_options=arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=self._note_misshapen),
                convert_options=arrow_csv.ConvertOptions(
                    include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string())
                ),
            )
            for batch in reader:
                yield dict(zip(wanted, batch.columns, strict=True))

    def _note_misshapen(self, row: Any) -> str:
        self._misshapen_seen = True
        return "skip"

    def header(self) -> list[str]:
        """The names in the first line."""
        with self._lines() as lines:
            return next((fields for _, fields in lines), [])

    def numbers(self, column: Any) -> Floats:
        try:
            numbers: Floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:  # some value is no number; find out which
            values = pd.Series(column.to_pylist(), dtype=object)
            numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
        return numbers

    def values(self, column: Any) -> list[Any]:
        return [value or None for value in column.to_pylist()]

    def locate(self, row: int) -> Place:
        with self._lines() as lines:
            _, header = next(lines)
            well_formed = ((line, fields) for line, fields in lines if len(fields) == len(header))
            line, fields = next(islice(well_formed, row, None))
            return Place(line, dict(zip(header, fields, strict=True)), ",".join(fields))

    def misshapen(self, before_row: int | None) -> list[Place]:
        if not self._misshapen_seen:
            return []
        found, rows = [], 0
        with self._lines() as lines:
            _, header = next(lines)
            for line, fields in lines:
                if len(fields) != len(header):
                    found.append(Place(line, None, f"{len(fields)} fields where the header has {len(header)}"))
                elif (rows := rows + 1) == before_row:
                    break
        return found

    @contextmanager
    def _lines(self) -> Iterator[Iterator[tuple[int, list[str]]]]:
        """(line number, fields) of every line that is not blank."""
        with text_errors(self.path), open_bytes(self.path) as file:
            reader = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
            yield _numbered(reader)


@dataclass
class JsonlRows:
    """A file with one JSON object a line; blank lines do not count.

    `convert` changes each object before its columns are taken; messages show what the file says.
    """

    path: Path
    convert: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None

    def blocks(self, required: Sequence[str], optional: Sequence[str] = ()) -> Generator[Block, None, None]:
        with self._lines() as lines:
            while texts := [text for _, text in islice(lines, _JSONL_BLOCK_ROWS)]:
                rows: Sequence[Mapping[str, Any]] = [_json_object(text) for text in texts]
                if self.convert is not None:
                    rows = [self.convert(dict(row)) for row in rows]
                yield {name: [row.get(name) for row in rows] for name in (*required, *optional)}

    def numbers(self, column: Any) -> Floats:
        try:
            if set(map(type, column)) <= {int, float, type(None)}:
                return np.array(column, dtype=np.float64)
        except OverflowError:  # an integer beyond any float
            pass
        return np.array([_number_or_nan(value) for value in column], dtype=np.float64)

    def values(self, column: Any) -> list[Any]:
        return list(column)

    def locate(self, row: int) -> Place:
        with self._lines() as lines:
            line, text = next(islice(lines, row, None))
            return Place(line, _json_object(text) or None, text.strip())

    def misshapen(self, before_row: int | None) -> list[Place]:
        return []  # a line that is no object is a row without values

    @contextmanager
    def _lines(self) -> Iterator[Iterator[tuple[int, str]]]:
        with text_errors(self.path), open_bytes(self.path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8-sig")
            yield ((number, line) for number, line in enumerate(text, 1) if not line.isspace())


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked when it is gzip. Raises TraceError for a missing, empty or binary file."""
    if path.is_dir():
        raise TraceError(f"{path} is a folder; name the file in it")
    try:
        opened = path.open("rb")
    except FileNotFoundError as error:
        raise TraceError(f"there is no file {path}; a path is relative to the scenario's folder") from error
    except OSError as error:
        raise TraceError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    with opened as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        file: Any = gzip.GzipFile(fileobj=raw) if packed else raw
        start = file.read(4096)
        if not start.strip():
            raise TraceError(f"{path} is empty; it needs at least one row")
        if b"\0" in start:
            raise TraceError(f"{path} is not text; give a CSV or JSONL file in UTF-8 (plain or .gz)")
        file.seek(0)
        yield file


def open_rows(path: str | Path) -> Rows:
    """CSV or JSONL by the file's name (.jsonl, .json and .ndjson, .gz or not, are JSONL; all else is CSV)."""
    path = Path(path)
    name = path.name.removesuffix(".gz")
    return JsonlRows(path) if name.endswith((".jsonl", ".json", ".ndjson")) else CsvRows(path)


def read_tokens(path: str | Path, columns: Sequence[str]) -> list[Ints]:
    """Columns of lengths, each whole and from 1 to MAX_TOKENS. Raises TraceError naming line and value."""
    rows, start = open_rows(path), 0
    parts: list[list[Floats]] = [[] for _ in columns]
    for block in rows.blocks(columns):
        for part, name in zip(parts, columns, strict=True):
            numbers = rows.numbers(block[name])
            if (bad := not_tokens(numbers)).any():
                raise TraceError(f"{describe(rows, start + int(bad.argmax()), name)}, {TOKENS_WANTED}")
            part.append(numbers)
        start += len(numbers)
    if ragged := rows.misshapen(None):
        raise TraceError(f"{rows.path}, line {ragged[0].line}: {ragged[0].text}; mend or remove the row")
    if start == 0:
        raise TraceError(f"{rows.path} has a header and no rows; it needs at least one")
    return [np.concatenate(part).astype(np.int64) for part in parts]


TOKENS_WANTED = f"not a whole number of tokens from 1 to {MAX_TOKENS:,}"


def not_tokens(numbers: Floats) -> Bools:
    """True where a number is no length in tokens."""
    return ~np.asarray((numbers >= 1) & (numbers <= MAX_TOKENS) & (numbers == np.floor(numbers)))


def describe(rows: Rows, row: int, column: str) -> str:
    """The beginning of an error: file, line, column and value of one row."""
    place = rows.locate(row)
    where = f"{rows.path}, line {place.line}"
    if place.values is None:
        return f"{where}: {place.text[:60]!r} is not a JSON object"
    if column not in place.values:
        return f"{where}: {column} is missing (the row has {', '.join(place.values)})"
    return f"{where}: {column} is {place.values[column]!r}"


@contextmanager
def text_errors(path: Path) -> Iterator[None]:
    """Say in one sentence what the readers say in many ways."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TraceError(f"{path} is a damaged gzip file ({error}); fetch it again") from error
    except UnicodeDecodeError as error:
        raise TraceError(f"{path} is not UTF-8 text ({error.reason}); give a CSV or JSONL file") from error
    except (pa.ArrowInvalid, csv.Error) as error:
        raise TraceError(f"{path} cannot be read as CSV ({error}); check its quotes and commas") from error


def _numbered(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """(line a row begins on, fields) of a csv.reader; quoted fields may span lines."""
    line = 1
    for fields in reader:
        if fields:
            yield line, fields
        line = reader.line_num + 1


def _json_object(text: str) -> dict[str, Any]:
    """The object on a line; an empty one when the line holds none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _number_or_nan(value: Any) -> float:
    if type(value) not in (int, float):
        return float("nan")
    try:
        return float(value)
    except OverflowError:
        return float("inf")
