"""Which kernel counts, where several measured the same shape."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from calibrate.rawpoints import RawPoint
from sim.latency.points import COLUMNS, Key

Place = tuple[float, ...]

_LIKE_ENGINES: dict[str, tuple[str, ...]] = {
    # An engine draws from the softmax unless a request asks otherwise.
    "sampling": ("softmax_draw",),
    # Engines move KV blocks through pinned memory.
    "copy_h2d": ("pinned",),
    "copy_d2h": ("pinned",),
    # One product per expert needs the host to know how many rows each has, in the middle of a step.
    "grouped_gemm": ("grouped_mm", "scaled_grouped_mm"),
    # An engine's keys and values lie in pages; gathering them for all sequences at once pads them to the longest.
    "attention_prefill": ("triton_paged", "triton_paged_n128", "gather_sdpa"),
    "attention_decode": ("triton_paged", "looped_sdpa"),
}
"""Op -> the kernels that an engine would run, if they were measured; for all others it runs the fastest."""
_CPU = "cpu_"


@dataclass(frozen=True)
class Chosen:
    """A place on a curve: the raw row that tells its time, of the kernel that an engine would run."""

    key: Key
    place: Place
    row: RawPoint
    flaw: str = ""
    """What is wrong with it, if anything."""
    dropped: bool = False
    """Whether the flaw keeps it out of the fit."""

    @property
    def time_s(self) -> float:
        """Seconds of one run."""
        assert self.row.time_s is not None
        return self.row.time_s

    @property
    def spread(self) -> float:
        """Interquartile range of the runs over their median."""
        return (self.row.spread_s or 0.0) / abs(self.time_s) if self.time_s else 0.0


def choose(rows: Iterable[RawPoint]) -> list[Chosen]:
    """One row per measured place: of the kernels that an engine would run there, the fastest.

    Rows that are held out and those that are not are told apart first: neither sees the other. Ordered by op,
    curve and place.
    """
    found: dict[tuple[Key, Place, bool], list[RawPoint]] = defaultdict(list)
    for row in rows:
        if row.measured:
            key, place = place_of(row)
            found[key, place, row.held_out].append(row)
    points = [Chosen(key, place, _best(same)) for (key, place, _), same in found.items()]
    ranks = {op: rank for rank, op in enumerate(COLUMNS)}
    return sorted(points, key=lambda point: (ranks[point.key[0]], _numbers(point.key), point.place))


def place_of(row: RawPoint) -> tuple[Key, Place]:
    """The curve of a raw row, and its place there."""
    columns = COLUMNS[row.op]
    cells = (str(getattr(row, name)) for name in columns.key)
    key = (row.op, *("bf16" if cell == "fp16" else cell for cell in cells))
    return key, tuple(float(getattr(row, name)) for name in columns.axes)


def kernels(points: Iterable[Chosen]) -> dict[str, dict[str, int]]:
    """Op -> kernel -> at how many places it was chosen, the most frequent first."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for point in points:
        counts[point.row.op][point.row.kernel] += 1
    return {op: dict(count.most_common()) for op, count in counts.items()}


def others(rows: Iterable[RawPoint], points: Iterable[Chosen]) -> dict[str, dict[str, dict[str, float]]]:
    """Op -> kernel that lost somewhere -> at how many places, and its median time there over that of the chosen."""
    times = {(point.key, point.place, point.row.held_out): point for point in points if point.time_s > 0}
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        winner = times.get((*place_of(row), row.held_out)) if row.measured and row.op in COLUMNS else None
        if winner is not None and winner.row.kernel != row.kernel and row.time_s:
            found[row.op][row.kernel].append(row.time_s / winner.time_s)
    return {
        op: {kernel: {"points": len(ratios), "time": float(np.median(ratios))} for kernel, ratios in own.items()}
        for op, own in found.items()
    }


def rule(op: str) -> str:
    """How the kernel of an op is chosen, in words."""
    if op in _LIKE_ENGINES:
        return " or ".join(_LIKE_ENGINES[op]) + ", as engines do; else the fastest"
    return "the fastest"


def _best(rows: list[RawPoint]) -> RawPoint:
    likely = _LIKE_ENGINES.get(rows[0].op, ())
    able = [row for row in rows if row.kernel.removeprefix(_CPU) in likely] or rows
    return min(able, key=lambda row: (row.time_s or 0.0) if (row.time_s or 0.0) > 0 else float("inf"))


def _numbers(key: Key) -> tuple[tuple[int, str], ...]:
    """A key in an order that counts: 8 before 16."""
    return tuple((int(cell), "") if cell.isdigit() else (0, cell) for cell in key[1:])
