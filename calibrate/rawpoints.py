"""The table of raw measured points: its columns, appending to it and reading it.

One row per shape and kernel. `op` and the shape columns are those of the profile's points (see
hwprofiles/README.md), of one GPU; cells that an op does not use stay empty. While a measurement runs, rows go
to `raw.csv`, each flushed, so that whatever stops it leaves at most one broken row, the last; at the end the
table is packed as `raw.csv.gz`.
"""

import csv
import gzip
import io
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

RAW_NAME = "raw.csv"
PACKED_NAME = "raw.csv.gz"
STATUSES = ("ok", "noisy", "oom", "failed")
"""noisy: measured, but the runs spread widely. oom and failed: not measured, `note` says why."""


class RawPointsError(Exception):
    """A raw table that cannot be read or written; its text names the file, the row and the mend."""


@dataclass(frozen=True, slots=True)
class RawPoint:
    """One row: a shape, the kernel that ran it, and how long one run took (seconds), or why it did not run.

    time_s is the median of `repeats` runs, min_s the fastest, spread_s the interquartile range. held_out
    marks the points that a fit must never use: they tell its error.
    """

    op: str
    dtype: str = ""
    n: int | None = None
    k: int | None = None
    m: int | None = None
    experts: int | None = None
    experts_per_token: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    batch: int | None = None
    new_tokens: int | None = None
    context_tokens: int | None = None
    bytes: int | None = None
    ranks: int | None = None
    kernel: str = ""
    status: str = "ok"
    time_s: float | None = None
    min_s: float | None = None
    spread_s: float | None = None
    repeats: int | None = None
    held_out: bool = False
    note: str = ""

    @property
    def shape(self) -> tuple[str | int | None, ...]:
        """What was measured, whatever the kernel: op and all shape columns, in the table's order."""
        return tuple(getattr(self, name) for name in SHAPE_COLUMNS)

    @property
    def measured(self) -> bool:
        """Whether the row holds a time."""
        return self.status in ("ok", "noisy")


COLUMNS = tuple(field.name for field in fields(RawPoint))
SHAPE_COLUMNS = COLUMNS[: COLUMNS.index("kernel")]
_COUNTS = (*SHAPE_COLUMNS[2:], "repeats")
_TIMES = ("time_s", "min_s", "spread_s")


def table_in(folder: Path) -> Path | None:
    """The folder's raw table: the one under way if there is one, else the packed one, else None."""
    return next((folder / name for name in (RAW_NAME, PACKED_NAME) if (folder / name).is_file()), None)


def read(file: Path) -> list[RawPoint]:
    """The rows of a raw table (.csv or .csv.gz), without a last row that was never finished.

    Raises RawPointsError naming the file and the row for what is no such table.
    """
    return [_point(row, file, number) for number, row in enumerate(_rows(_text(file), file), start=2)]


def append(file: Path, points: Iterable[RawPoint]) -> None:
    """Add rows to a raw.csv, which is made if it is not there, and hand them to the operating system."""
    with file.open("a", encoding="utf-8", newline="") as stream:
        if stream.tell() == 0:
            csv.writer(stream, lineterminator="\n").writerow(COLUMNS)
        stream.write(_lines(points))


def open_table(folder: Path) -> tuple[Path, list[RawPoint]]:
    """The folder's raw.csv, ready for more rows, and the rows it holds.

    A packed table is unpacked; a row that was cut off while it was written is removed. Raises RawPointsError
    as `read` does.
    """
    file = folder / RAW_NAME
    found = table_in(folder)
    points = read(found) if found else []
    if found:
        _replace(file, (",".join(COLUMNS) + "\n" + _lines(points)).encode())
    return file, points


def pack(folder: Path) -> None:
    """Turn the folder's raw.csv into raw.csv.gz, if there is one."""
    file = folder / RAW_NAME
    if file.is_file():
        _replace(folder / PACKED_NAME, gzip.compress(file.read_bytes(), mtime=0))
        file.unlink()


def _lines(points: Iterable[RawPoint]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for point in points:
        writer.writerow([_cell(getattr(point, name)) for name in COLUMNS])
    return stream.getvalue()


def _cell(value: str | int | float | bool | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return f"{value:.7g}"
    return " ".join(str(value).split())  # a line break would look like the end of a row


def _replace(file: Path, content: bytes) -> None:
    """Write the whole file or nothing of it."""
    temporary = file.with_name(file.name + ".part")
    temporary.write_bytes(content)
    os.replace(temporary, file)


def _text(file: Path) -> str:
    try:
        raw = file.read_bytes()
        return (gzip.decompress(raw) if file.suffix == ".gz" else raw).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise RawPointsError(f"{file}: not a readable table of raw points ({error})") from error


def _rows(text: str, file: Path) -> list[list[str]]:
    """The cells of every finished row below the head."""
    head, *rest = text[: text.rfind("\n") + 1].splitlines() or [""]
    if not head and not rest:
        return []  # stopped while the head was written
    if tuple(head.split(",")) != COLUMNS:
        raise RawPointsError(
            f"{file}: its first row does not name the columns of a raw table ({', '.join(COLUMNS[:3])}, "
            "...); delete the file, or choose another folder"
        )
    return list(csv.reader(rest))


def _point(row: list[str], file: Path, number: int) -> RawPoint:
    where = f"{file}, row {number}"
    if len(row) != len(COLUMNS):
        raise RawPointsError(f"{where}: has {len(row)} cells, not {len(COLUMNS)}; delete this row")
    cells = dict(zip(COLUMNS, row, strict=True))
    if cells["status"] not in STATUSES:
        raise RawPointsError(f"{where}: status {cells['status']!r} is none of {', '.join(STATUSES)}")
    if cells["held_out"] not in ("0", "1"):
        raise RawPointsError(f"{where}: held_out must be 0 or 1, not {cells['held_out']!r}")
    counts = {name: _count(cells[name], name, where) for name in _COUNTS}
    times = {name: _seconds(cells[name], name, where) for name in _TIMES}
    values: dict[str, Any] = {**cells, **counts, **times, "held_out": cells["held_out"] == "1"}
    point = RawPoint(**values)
    if point.measured and point.time_s is None:  # one that is not positive is for the fit to flag
        raise RawPointsError(f"{where}: was measured, so 'time_s' must hold a time")
    return point


def _count(text: str, name: str, where: str) -> int | None:
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise RawPointsError(f"{where}: column {name!r} must be a whole number, not {text!r}") from None


def _seconds(text: str, name: str, where: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise RawPointsError(f"{where}: column {name!r} must be a number, not {text!r}") from None
    if not math.isfinite(value):
        raise RawPointsError(f"{where}: column {name!r} must be finite, not {text!r}")
    return value
