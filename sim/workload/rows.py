"""Files of rows, a block of columns at a time, and where in the file a row stands.

Blocks keep a slice of a huge file cheap: reading stops when the slice is full. Line numbers are not kept;
they are found by reading the file once more, when there is something to say about a row.
"""

import csv
import gzip
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa

from sim.choice import nearest
from sim.errors import TraceError
from sim.workload.table import MAX_TOKENS, Bools, Floats, Ints

Block: TypeAlias = Mapping[str, Any]
"""Columns of equal length by name, in the reader's own form; absent columns are absent."""


@dataclass(frozen=True)
class Place:
    """One row in its file: line number (from 1), values by the file's names (None when it has no columns), text.

    `kind` is what the number counts: lines, or entries of a list.
    """

    line: int
    values: Mapping[str, Any] | None
    text: str
    kind: str = "line"

    @property
    def where(self) -> str:
        """The place in words."""
        return f"{self.kind} {self.line}"


class Rows(Protocol):
    """A file of rows. Well-formed rows are numbered from 0; `places` tells their lines."""

    @property
    def path(self) -> Path: ...

    def header(self) -> list[str]:
        """The names that the file gives its columns."""
        ...

    def called(self, column: str) -> str:
        """What the file calls a column."""
        ...

    def blocks(self, required: Sequence[str], optional: Sequence[str] = ()) -> Generator[Block, None, None]:
        """Blocks of the wanted columns. Raises TraceError when the file cannot be read as such rows."""
        ...

    def numbers(self, column: Any) -> Floats:
        """A column as f8, NaN for whatever is no number."""
        ...

    def values(self, column: Any) -> list[Any]:
        """A column as Python values, None for missing ones."""
        ...

    def merged(self, blocks: Sequence[Block]) -> Block:
        """Several blocks as one."""
        ...

    def taken(self, block: Block, order: Ints) -> Block:
        """These rows of a block, in this order."""
        ...

    def places(self, rows: Sequence[int]) -> list[Place]:
        """Where these rows stand."""
        ...

    def misshapen(self, before_row: int | None) -> list[Place]:
        """Lines with the wrong number of fields ahead of row `before_row` (None: in the whole file)."""
        ...


def require_file(path: Path) -> None:
    """Raise TraceError for a file named on the command line that is not there."""
    if path.exists():
        return
    folder = path.parent
    if not folder.is_dir():
        raise TraceError(f"there is no file {path}, and no folder {folder}")
    hint = nearest(path.name, (other.name for other in folder.iterdir()))
    raise TraceError(f"there is no file {path}{hint if 'did you mean' in hint else ''}")


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


TOKENS_WANTED = f"not a whole number of tokens from 1 to {MAX_TOKENS:,}"


def not_tokens(numbers: Floats) -> Bools:
    """True where a number is no length in tokens."""
    return ~np.asarray((numbers >= 1) & (numbers <= MAX_TOKENS) & (numbers == np.floor(numbers)))


def describe(rows: Rows, row: int, column: str) -> str:
    """The beginning of an error: file, line, column and value of one row."""
    (place,) = rows.places([row])
    return f"{rows.path}, {place.where}: {cell(place, rows.called(column))}"


def cell(place: Place, name: str) -> str:
    """What a row says in the column that the file calls `name`, as the middle of an error."""
    if place.values is None:
        return f"{place.text[:60]!r} is not a JSON object"
    if name not in place.values:
        return f"{name} is missing (the row has {', '.join(place.values)})"
    return f"{name} is {place.values[name]!r}"


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
