"""Measured points of a device: `points.csv` (or .csv.gz) in its folder, one row per measured kernel.

Long form: the column `op` says what was measured, the columns of that op (table `COLUMNS`) say at which
shape, `time_s` is the median time of one run on one GPU. Other columns (spread_s, clock, date, ...) are for
people and are not read; cells that an op does not use stay empty. All shapes are those of one GPU, after the
split by tensor parallelism. Rows of one curve (equal key columns) must come in strictly ascending order of
their axes.
"""

import csv
import gzip
import io
import math
from pathlib import Path
from typing import NamedTuple

from sim.errors import ProfileError

ELEMENTWISE = (
    "embedding",
    "norm",
    "qk_norm",
    "rotary",
    "kv_write",
    "activation",
    "top_k",
    "experts_activation",
    "experts_sum",
    "shared_activation",
    "sampling",
)
"""Element-wise ops, measured over `bytes` = read + written."""


class Columns(NamedTuple):
    """Which columns tell the curve, and which the place on it."""

    key: tuple[str, ...]
    axes: tuple[str, ...]


_HEADS = ("dtype", "heads", "kv_heads", "head_dim")
COLUMNS: dict[str, Columns] = {
    # dtype: of the weights. m rows times a (k, n) matrix.
    "gemm": Columns(("dtype", "n", "k"), ("m",)),
    # m tokens, each through experts_per_token of the experts, chosen evenly at random.
    "grouped_gemm": Columns(("dtype", "n", "k", "experts", "experts_per_token"), ("m",)),
    # dtype: of the KV cache. One causal chunk of new_tokens after context_tokens.
    "attention_prefill": Columns(_HEADS, ("new_tokens", "context_tokens")),
    # batch single queries over context_tokens each (the mean, if they differ), the own token included.
    "attention_decode": Columns(_HEADS, ("batch", "context_tokens")),
    # bytes: of one rank's buffer.
    "all_reduce": Columns(("ranks",), ("bytes",)),
    "all_gather": Columns(("ranks",), ("bytes",)),
    **{name: Columns((), ("bytes",)) for name in ELEMENTWISE},
    # Kept with the profile, read by no latency model yet: copies over bytes, launches of m kernels, the host's
    # part of a step of m sequences.
    **{name: Columns((), ("bytes",)) for name in ("copy_d2d", "copy_h2d", "copy_d2h", "send_recv")},
    "launch_eager": Columns((), ("m",)),
    "launch_graph": Columns((), ("m",)),
    "host_step": Columns((), ("m",)),
}

Key = tuple[str, ...]
Point = tuple[tuple[float, ...], float]
"""(place on the axes, seconds)"""


def read_points(file: Path) -> dict[Key, list[Point]]:
    """The curves of a file: (op, *key columns) -> points in ascending order.

    Raises ProfileError naming the file and the row for an unknown op, a missing, negative or non-finite
    number, a time that is not positive, and points that repeat or do not ascend.
    """
    curves: dict[Key, list[Point]] = {}
    keys: dict[tuple[str | None, ...], Key] = {}  # cells as they stand -> key: a curve's rows repeat them
    reader = csv.DictReader(io.StringIO(_text(file), newline=""))
    if not {"op", "time_s"} <= set(reader.fieldnames or ()):
        raise ProfileError(f"{file}: the first row must name the columns, 'op' and 'time_s' among them")
    for row in reader:
        where = f"{file}, row {reader.line_num}"
        op = row["op"]
        columns = COLUMNS.get(op)
        if columns is None:
            raise ProfileError(f"{where}: unknown op {op!r}; known are {', '.join(COLUMNS)}")
        cells = (op, *[row.get(name) for name in columns.key])
        key = keys.get(cells)
        if key is None:
            key = keys[cells] = (op, *(_key_cell(row, name, where) for name in columns.key))
        place = tuple([_number(row, name, where) for name in columns.axes])
        time_s = _number(row, "time_s", where)
        if time_s == 0:
            raise ProfileError(f"{where}: 'time_s' must be more than 0")
        points = curves.setdefault(key, [])
        if points and points[-1][0] >= place:
            axes = ", ".join(columns.axes)
            raise ProfileError(f"{where}: {axes} = {place} does not ascend from {points[-1][0]} before it")
        points.append((place, time_s))
    return curves


def _text(file: Path) -> str:
    try:
        raw = file.read_bytes()
        return (gzip.decompress(raw) if file.suffix == ".gz" else raw).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ProfileError(f"{file}: not a readable table of points ({error})") from error


def _key_cell(row: dict[str, str], name: str, where: str) -> str:
    if name == "dtype":
        if not row.get(name):
            raise ProfileError(f"{where}: column 'dtype' is missing or empty")
        return "bf16" if row[name] == "fp16" else row[name]  # one speed, one size
    number = _number(row, name, where)
    if number != int(number) or number < 1:
        raise ProfileError(f"{where}: column {name!r} must be a whole number from 1 up, not {row[name]!r}")
    return str(int(number))


def _number(row: dict[str, str], name: str, where: str) -> float:
    text = row.get(name)
    if not text:
        raise ProfileError(f"{where}: column {name!r} is missing or empty")
    try:
        value = float(text)
    except ValueError:
        raise ProfileError(f"{where}: column {name!r} must be a number, not {text!r}") from None
    if not math.isfinite(value) or value < 0:
        raise ProfileError(f"{where}: column {name!r} must be a finite number of at least 0, not {text!r}")
    return value
