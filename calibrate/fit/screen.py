"""What is wrong with a measured point: not physical, out of line with its neighbours, or noisy."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from calibrate.fit.chosen import Chosen
from sim.hardware import Profile
from sim.latency.points import COLUMNS, Key
from sim.latency.shapes import ATTENTION, PRODUCTS, has_roofline, operation_at

_OVER_PEAK = 1.05
"""Clocks above the datasheet's are seen, by a few per cent."""
_OUT_OF_LINE = 1.5
"""So many times slower than a larger shape, or faster than a smaller one: something else ran meanwhile."""
_SPIKE, _DIP = 2.5, 1.6
"""So many times less (or more) efficient than both neighbours. A new tile at most doubles a time."""
_BEYOND_NOISE, _SPREADS = 0.05, 3.0
_MOST_OUTLIERS = 0.2
"""Where more of a line's points are out of line, it is not clear which of them are right, and all are kept."""
_CACHE_SHARE = 2.0


@dataclass(frozen=True)
class Limits:
    """What the datasheet allows; without a datasheet (None) nothing is too fast."""

    profile: Profile | None
    l2_bytes: float

    def least_s(self, key: Key, places: Any) -> np.ndarray | None:
        """Seconds that no kernel can beat at these places of a curve; None where nothing is known.

        Products and attention at the peak FLOP/s, and what does not fit in the cache at the memory's bandwidth.
        """
        if self.profile is None or key[0] not in (*PRODUCTS, *ATTENTION):
            return None
        operation = operation_at(key, places)
        computing: Any = operation.flops / self.profile.peak(operation.compute)
        moved: Any = np.asarray(operation.read_bytes, dtype=np.float64)
        moving = moved / self.profile.memory_bandwidth_bytes_per_s
        least: np.ndarray = np.maximum(computing, np.where(moved > _CACHE_SHARE * self.l2_bytes, moving, 0.0))
        return least


def screen(points: Sequence[Chosen], limits: Limits) -> list[Chosen]:
    """The same points, in the same order, with their flaws.

    Points that are held out are compared with the limits, and with no other point; only a time that is no time
    keeps one of them from judging the fit.
    """
    fitted = iter(_screened([point for point in points if not point.row.held_out], limits))
    judges = iter(_judged([point for point in points if point.row.held_out], limits))
    return [next(judges if point.row.held_out else fitted) for point in points]


def _judged(points: Sequence[Chosen], limits: Limits) -> list[Chosen]:
    found = []
    for point in points:
        flaw = _unphysical(point, limits.least_s(point.key, np.array([point.place])))
        found.append(replace(point, flaw=flaw, dropped=point.time_s <= 0))
    return found


def _unphysical(point: Chosen, least: np.ndarray | None) -> str:
    """Why no kernel can have taken that time; least: seconds that none can beat, if known."""
    if point.time_s <= 0:
        return "a time that is not positive"
    if least is not None and point.time_s * _OVER_PEAK < least[0]:
        return f"{least[0] / point.time_s:.2f} times faster than the datasheet's peak allows"
    return ""


def _screened(points: Sequence[Chosen], limits: Limits) -> list[Chosen]:
    curves: dict[Key, list[int]] = defaultdict(list)
    for number, point in enumerate(points):
        curves[point.key].append(number)
    flaws: dict[int, tuple[str, bool]] = {}
    for key, numbers in curves.items():
        places = np.array([points[number].place for number in numbers])
        least = limits.least_s(key, places)
        for i, number in enumerate(numbers):
            flaw = _unphysical(points[number], None if least is None else least[i : i + 1])
            if flaw:
                flaws[number] = (flaw, True)
        for line in _lines(key, [number for number in numbers if number not in flaws], points):
            flaws |= _out_of_line(key, line, points, flaws)
        for line in _lines(key, [number for number in numbers if not flaws.get(number, ("", False))[1]], points):
            flaws |= _falling(line, points, flaws)
    for number, point in enumerate(points):
        if number not in flaws and point.row.status == "noisy":
            flaws[number] = (f"its runs spread by {point.spread:.0%}", False)
    return [
        replace(point, flaw=flaws[number][0], dropped=flaws[number][1]) if number in flaws else point
        for number, point in enumerate(points)
    ]


Flaws = dict[int, tuple[str, bool]]


def _lines(key: Key, numbers: list[int], points: Sequence[Chosen]) -> list[list[int]]:
    """The points along each axis, the other fixed, ascending."""
    axes = len(COLUMNS[key[0]].axes)
    if axes == 1:
        return [numbers]
    lines: dict[tuple[int, float], list[int]] = defaultdict(list)
    for number in numbers:
        for axis in range(axes):
            lines[axis, points[number].place[1 - axis]].append(number)
    return [sorted(line, key=lambda number: points[number].place) for line in lines.values()]


def _out_of_line(key: Key, line: list[int], points: Sequence[Chosen], flaws: Flaws) -> Flaws:
    """Points that no longest line without large falls goes through, and those far from both neighbours."""
    line = [number for number in line if number not in flaws]
    if len(line) < 3:
        return {}
    times = [points[number].time_s for number in line]
    kept = _longest(times, lambda early, late: late * _OUT_OF_LINE >= early)
    found: Flaws = {}
    for place, number in enumerate(line):
        if place in kept:
            continue
        near = [times[other] for other in sorted(kept, key=lambda other: abs(other - place))[:2]]
        ratio = times[place] / float(np.mean(near))
        word = f"{ratio:.1f} times the time" if ratio > 1 else f"{ratio:.2f} of the time"
        found[number] = (f"an outlier: {word} of its neighbours", True)
    if len(found) > max(1, _MOST_OUTLIERS * len(line)):
        return {number: (text, False) for number, (text, _) in found.items()}
    return found | _spikes(key, [number for number in line if number not in found], points)


def _spikes(key: Key, line: list[int], points: Sequence[Chosen]) -> Flaws:
    if len(line) < 3 or not has_roofline(key[0]):
        return {}
    operation = operation_at(key, np.array([points[number].place for number in line]))
    work: Any = np.asarray(operation.flops if operation.kind in ("gemm", *ATTENTION) else operation.bytes, np.float64)
    # Time per unit of work falls with the work until the device is full, so only a rise stands out.
    pace = np.array([points[number].time_s for number in line]) / np.maximum(work, 1.0)
    found: Flaws = {}
    for i in range(1, len(line) - 1):
        slower, faster = pace[i] / max(pace[i - 1], pace[i + 1]), min(pace[i - 1], pace[i + 1]) / pace[i]
        if slower > _SPIKE:
            found[line[i]] = (f"an outlier: {slower:.1f} times less efficient than both neighbours", True)
        elif faster > _DIP:
            found[line[i]] = (f"an outlier: {faster:.1f} times more efficient than both neighbours", True)
    return found


def _falling(line: list[int], points: Sequence[Chosen], flaws: Flaws) -> Flaws:
    """Points that take longer than a larger shape, beyond their noise; the fit evens them out."""
    found: Flaws = {}
    for i, number in enumerate(line[:-1]):
        point = points[number]
        if number in flaws:
            continue
        later = min((points[other] for other in line[i + 1 :]), key=lambda other: other.time_s)
        noise = max(_BEYOND_NOISE, _SPREADS * max(point.spread, later.spread))
        if point.time_s > later.time_s * (1.0 + noise):
            rise = point.time_s / later.time_s - 1.0
            found[number] = (f"not monotone: {rise:.0%} slower than a larger shape", False)
    return found


def _longest(values: Sequence[float], follows: Callable[[float, float], bool]) -> set[int]:
    """The longest subsequence in which each value follows the one before."""
    length, before = [1] * len(values), [-1] * len(values)
    for i in range(len(values)):
        for j in range(i):
            if length[j] + 1 > length[i] and follows(values[j], values[i]):
                length[i], before[i] = length[j] + 1, j
    at = max(range(len(values)), key=lambda i: (length[i], i))
    kept = set()
    while at >= 0:
        kept.add(at)
        at = before[at]
    return kept
