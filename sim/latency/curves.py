"""Curves through measured points, in linear space; a derated roofline where nothing like it was measured.

Only + - * / min max and comparisons, each in a fixed order, so that every machine gets the same bits
(np.interp is avoided: compilers may fuse its multiply and add).
"""

from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sim.hardware import Profile
from sim.latency import roofline
from sim.latency.collectives import leaves_the_points
from sim.latency.neighbours import Borrowed, borrow
from sim.latency.points import ELEMENTWISE, Key, Point, read_points
from sim.latency.shapes import axis_of, key_of, operation_at
from sim.models.operations import Operation

Array: TypeAlias = NDArray[Any]


class ContextLine(NamedTuple):
    """Seconds as a piecewise linear function of the total context, at one number of decodes.

    Segment i starts at starts[i] (starts[0] = 0) and is intercepts[i] + slopes[i] * context. Beyond `limit`
    context tokens nothing was measured.
    """

    starts: list[float]
    intercepts: list[float]
    slopes: list[float]
    limit: float

    def at(self, context: float) -> float:
        """Seconds at that total context."""
        i = bisect_right(self.starts, context) - 1
        return self.intercepts[i] + self.slopes[i] * context


class Curves:
    """The times of single operations on one device."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        file = profile.points_file
        self.measured = _points(file, profile.digest) if file else {}
        self._borrowed: dict[Key, Borrowed | None] = {}

    def seconds(self, operation: Operation) -> tuple[Array, Array]:
        """(seconds of one run, outside the measured range?) of an operation over an array of shapes.

        For all kinds but attention. On the points: linear interpolation. Beyond them: the roofline, scaled to
        meet the end point. A shape that was not measured is borrowed from its neighbours; where it has none:
        the plain roofline, flagged where the device was measured at all.
        """
        roof: Any = np.asarray(roofline.seconds(operation, self.profile), dtype=np.float64)
        if operation.kind == "lora":  # nobody has measured these
            return roof, np.zeros(roof.shape, dtype=bool)
        key = key_of(operation)
        points, far = self._points(key)
        if points is None or leaves_the_points(operation, self.profile):
            far = far or points is not None
            return roof, np.full(roof.shape, far)
        xs = np.array([place[0] for place, _ in points])
        ys = np.array([time_s for _, time_s in points])
        x = np.broadcast_to(np.asarray(axis_of(operation), dtype=np.float64), roof.shape)
        inside = interpolate(x, xs, ys)
        ends: Any = roofline.seconds(operation_at(key, xs[[0, -1], np.newaxis]), self.profile)
        below = ys[0] * (roof / ends[0])
        above = ys[-1] * (roof / ends[1])
        times = np.where(x < xs[0], below, np.where(x > xs[-1], above, inside))
        return times, (x < xs[0]) | (x > xs[-1]) | far

    def decode(self, operation: Operation) -> ContextLine:
        """The attention of `operation.batch` decodes as a function of their total context, for one layer."""
        batch = int(operation.batch)
        points, far = self._points(key_of(operation))
        if points is None:
            return _roof_line(operation, self.profile, -1.0 if far else float("inf"))
        rows = _rows(points)
        batches = [b for b, _ in rows]
        lines = {b: _row_line(operation, self.profile, b, row) for b, row in rows}
        i = bisect_right(batches, batch)
        if i == 0 or (i == len(batches) and batch > batches[-1]):
            # The same total context costs about the same; the end of the grid stands for what lies beyond.
            line = lines[batches[0] if i == 0 else batches[-1]]._replace(limit=-1.0)
        elif batches[i - 1] == batch:
            line = lines[batches[i - 1]]
        else:
            line = _between(batch, batches[i - 1], lines[batches[i - 1]], batches[i], lines[batches[i]])
        return line._replace(limit=-1.0) if far else line

    def prefill(self, operation: Operation) -> "PrefillGrid | None":
        """The grid of a prefill attention shape, measured or borrowed, if there is one."""
        points, far = self._points(key_of(operation))
        return PrefillGrid(points, far) if points else None

    def _points(self, key: Key) -> tuple[list[Point] | None, bool]:
        """(the points of a curve, outside what was measured?)"""
        if key in self.measured:
            return self.measured[key], False
        if key not in self._borrowed:
            self._borrowed[key] = borrow(key, self.measured, self.profile) if self.measured else None
        found = self._borrowed[key]
        if found:
            return found.points, found.far
        # Times of element-wise kernels are bytes over bandwidth; a device whose points have none is told of otherwise.
        return None, bool(self.measured) and key[0] not in ELEMENTWISE

    def left_to_roofline(self, operations: Iterable[Operation]) -> list[str]:
        """The element-wise operations of a measured device that have no points, by name."""
        if not self.measured:
            return []
        return [op.name for op in operations if op.kind == "elementwise" and key_of(op) not in self.measured]


class PrefillGrid:
    """Ratios measured / roofline over (new tokens, context), bilinear between points, constant beyond.

    The ratio is interpolated rather than the time, because the time is quadratic in the new tokens and a
    straight line between two points of a coarse grid would lie far above it. far: all of it is extrapolated.
    """

    def __init__(self, points: list[Point], far: bool = False) -> None:
        self._points, self._far = _rows(points), far
        self._news = [new for new, _ in self._points]
        self._ratios: list[tuple[float, list[float], list[float]]] = []

    def scaled_by(self, roof: Any) -> "PrefillGrid":
        """Fix the roofline, a function roof(new, context) -> seconds, that the times are compared with."""
        self._ratios = [
            (new, [c for c, _ in row], [time_s / roof(new, c) for c, time_s in row]) for new, row in self._points
        ]
        return self

    def ratio(self, new: int, context: int) -> tuple[float, bool]:
        """(measured / roofline, outside the measured range?)"""
        rows = self._ratios
        i = bisect_right(self._news, new)
        if i == 0:
            value, _ = _clamped(rows[0], context)
            return value, True
        low, outside = _clamped(rows[i - 1], context)
        outside = outside or self._far
        if rows[i - 1][0] == new:
            return low, outside
        if i == len(rows):
            return low, True
        high, outside_high = _clamped(rows[i], context)
        share = (new - rows[i - 1][0]) / (rows[i][0] - rows[i - 1][0])
        return low + share * (high - low), outside or outside_high


def interpolate(x: Array, xs: Array, ys: Array) -> Array:
    """Piecewise linear through (xs, ys), constant beyond the ends; xs ascending."""
    if len(xs) == 1:
        return np.full(x.shape, ys[0])
    i = np.clip(np.searchsorted(xs, x, side="right") - 1, 0, len(xs) - 2)
    share = (np.clip(x, xs[0], xs[-1]) - xs[i]) / (xs[i + 1] - xs[i])
    result: Array = ys[i] * (1.0 - share) + ys[i + 1] * share
    return result


@lru_cache(maxsize=8)
def _points(file: Path, digest: str) -> dict[Key, list[Point]]:
    """The points of a file, read once per content."""
    return read_points(file)


def _rows(points: list[Point]) -> list[tuple[float, list[tuple[float, float]]]]:
    """Points over two axes as rows of the first axis, each ascending in the second."""
    rows: list[tuple[float, list[tuple[float, float]]]] = []
    for (first, second), time_s in points:
        if not rows or rows[-1][0] != first:
            rows.append((first, []))
        rows[-1][1].append((second, time_s))
    return rows


def _clamped(row: tuple[float, list[float], list[float]], x: float) -> tuple[float, bool]:
    _, xs, ys = row
    if x <= xs[0]:
        return ys[0], x < xs[0]
    if x >= xs[-1]:
        return ys[-1], x > xs[-1]
    i = bisect_right(xs, x) - 1
    share = (x - xs[i]) / (xs[i + 1] - xs[i])
    return ys[i] + share * (ys[i + 1] - ys[i]), False


def _roof_line(op: Operation, profile: Profile, limit: float) -> ContextLine:
    """The roofline of decode attention: the larger of two straight lines, computing and moving."""
    compute, memory = roofline.sustained(op, profile)
    assert compute is not None
    flops = op.heads * op.head_dim * 4 / compute
    per_query, per_key = _decode_bytes(op)
    base = per_query * float(op.batch) / memory
    slope = per_key / memory
    latency = profile.kernel_latency_s
    if flops <= slope:
        return ContextLine([0.0], [base + latency], [slope], limit)
    crossing = base / (flops - slope)
    return ContextLine([0.0, crossing], [base + latency, latency], [slope, flops], limit)


def _decode_bytes(op: Operation) -> tuple[float, float]:
    """(bytes per query, bytes per key) of a decode attention operation with context."""
    queries = float(op.write_bytes) / float(op.batch)
    keys = (float(op.read_bytes) - float(op.write_bytes)) / float(op.context_tokens)
    return 2.0 * queries, keys


def _row_line(op: Operation, profile: Profile, batch: float, row: list[tuple[float, float]]) -> ContextLine:
    """One measured batch size: straight between its points, then the roofline's slope, scaled to fit."""
    query, key = _decode_bytes(op)
    compute, memory = roofline.sustained(op, profile)
    assert compute is not None

    def roof(total: float) -> float:
        moving = (query * batch + key * total) / memory
        return max(total * (op.heads * op.head_dim * 4 / compute), moving) + profile.kernel_latency_s

    xs = [c * batch for c, _ in row]
    ys = [time_s for _, time_s in row]
    if xs[0] > 0:
        xs, ys = [0.0, *xs], [ys[0] * (roof(0.0) / roof(xs[0])), *ys]
    end = max(xs[-1], batch)
    beyond = ys[-1] * (roof(2 * end) - roof(end)) / (end * roof(xs[-1]))
    slopes = [(ys[i + 1] - ys[i]) / (xs[i + 1] - xs[i]) for i in range(len(xs) - 1)] + [beyond]
    intercepts = [y - slope * x for x, y, slope in zip(xs, ys, slopes, strict=True)]
    return ContextLine(xs, intercepts, slopes, row[-1][0] * batch)


def _between(batch: float, low: float, lower: ContextLine, high: float, upper: ContextLine) -> ContextLine:
    """Bilinear: at equal context per request, straight between two measured batch sizes."""
    share = (batch - low) / (high - low)
    per_request = sorted({x / low for x in lower.starts} | {x / high for x in upper.starts})
    starts: list[float] = []
    intercepts: list[float] = []
    slopes: list[float] = []
    for context in per_request:
        i = bisect_right(lower.starts, context * low) - 1
        j = bisect_right(upper.starts, context * high) - 1
        starts.append(context * batch)
        intercepts.append((1.0 - share) * lower.intercepts[i] + share * upper.intercepts[j])
        # A slope per total token, at low (high) requests, becomes one per token of each request, and back.
        slopes.append(((1.0 - share) * lower.slopes[i] * low + share * upper.slopes[j] * high) / batch)
    limit = min(lower.limit / low, upper.limit / high) * batch
    return ContextLine(starts, intercepts, slopes, limit)
