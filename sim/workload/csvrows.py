"""Rows of a CSV file."""

import csv
import io
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv

from sim.errors import TraceError
from sim.workload.rows import Block, Place, open_bytes, text_errors
from sim.workload.table import Floats, Ints

_BLOCK_BYTES = 1 << 20
_DELIMITERS = ",;\t|"


@dataclass
class CsvRows:
    """A file with a header line, parted by the commas, semicolons, tabs or bars that this line has most of.

    `names` says what the file calls a column, where it has a name of its own; names are matched exactly, further
    columns ignored. Where semicolons part the fields, a comma in a number is a decimal one.
    """

    path: Path
    names: Mapping[str, str] = field(default_factory=dict)
    _misshapen_seen: bool = field(default=False, init=False)

    def called(self, column: str) -> str:
        return self.names.get(column, column)

    def blocks(self, required: Sequence[str], optional: Sequence[str] = ()) -> Generator[Block, None, None]:
        header = self.header()
        for name in map(self.called, required):
            if name not in header:
                raise TraceError(f"{self.path}, line 1: there is no column {name!r}; found {', '.join(header)}")
        wanted = [name for name in (*required, *optional) if self.called(name) in header]
        read = list(dict.fromkeys(map(self.called, wanted)))
        for name in read:
            if header.count(name) > 1:
                raise TraceError(f"{self.path}, line 1: column {name!r} stands there twice; rename one")
        with self._lines() as lines:
            if len(list(islice(lines, 2))) < 2:
                return  # a header alone, which Arrow does not read when its line is not ended
        with text_errors(self.path), open_bytes(self.path) as file:
            reader = arrow_csv.open_csv(
                file,
                read_options=arrow_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=self._note_misshapen
                ),
                convert_options=arrow_csv.ConvertOptions(
                    include_columns=read, column_types=dict.fromkeys(read, pa.string())
                ),
            )
            for batch in reader:
                columns = dict(zip(read, batch.columns, strict=True))
                yield {name: columns[self.called(name)] for name in wanted}

    def _note_misshapen(self, row: Any) -> str:
        self._misshapen_seen = True
        return "skip"

    @cached_property
    def delimiter(self) -> str:
        """What parts the fields: whatever stands most often in the first line, outside of quotes."""
        with text_errors(self.path), open_bytes(self.path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8-sig")
            first = next((line for line in text if not line.isspace()), "")
        bare = "".join(first.split('"')[::2])
        return max(_DELIMITERS, key=bare.count)

    def header(self) -> list[str]:
        with self._lines() as lines:
            return next((fields for _, fields in lines), [])

    def numbers(self, column: Any) -> Floats:
        try:
            numbers: Floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:  # some value is no number; find out which
            values = pd.Series(column.to_pylist(), dtype=object)
            if self.delimiter == ";":
                values = values.str.replace(",", ".")
            numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
        return numbers

    def values(self, column: Any) -> list[Any]:
        return [(value.strip() or None) if value else None for value in column.to_pylist()]

    def merged(self, blocks: Sequence[Block]) -> Block:
        return {name: pa.chunked_array([block[name] for block in blocks]) for name in blocks[0]}

    def taken(self, block: Block, order: Ints) -> Block:
        return {name: column.take(pa.array(order)).combine_chunks() for name, column in block.items()}

    def places(self, rows: Sequence[int]) -> list[Place]:
        found: dict[int, Place] = {}
        wanted, last = set(rows), max(rows)
        with self._lines() as lines:
            _, header = next(lines)
            well_formed = ((line, fields) for line, fields in lines if len(fields) == len(header))
            for row, (line, fields) in enumerate(islice(well_formed, last + 1)):
                if row in wanted:
                    values = dict(zip(header, fields, strict=True))
                    found[row] = Place(line, values, self.delimiter.join(fields))
        return [found[row] for row in rows]

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
        delimiter = self.delimiter
        with text_errors(self.path), open_bytes(self.path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
            yield _numbered(csv.reader(text, delimiter=delimiter))


def _numbered(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """(line a row begins on, fields) of a csv.reader; quoted fields may span lines."""
    line = 1
    for fields in reader:
        if fields:
            yield line, fields
        line = reader.line_num + 1
