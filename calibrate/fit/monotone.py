"""Times that never fall as a shape grows: isotonic regression, along one axis or both."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.optimize import isotonic_regression

from calibrate.fit.chosen import Place

_LEAST_SPREAD = 0.01
_ROUNDS = 200
_SMALL = 1e-9


def monotone(places: Sequence[Place], times_s: Sequence[float], spreads: Sequence[float]) -> list[float]:
    """The nearest times (seconds) that rise with every axis.

    Nearest in the logarithm, so that small times count as much as large ones, a point weighing less the more
    its runs spread. On a grid, one axis after the other until both rise (projections on convex sets).
    """
    values = np.log(np.asarray(times_s, dtype=np.float64))
    weights = 1.0 / np.square(np.maximum(np.asarray(spreads, dtype=np.float64), _LEAST_SPREAD))
    lines = _lines(places)
    if len(places[0]) == 1:
        return _risen(np.exp(_isotonic(values, weights)), lines)
    for _ in range(_ROUNDS):
        before = values.copy()
        for line in lines:
            values[line] = _isotonic(values[line], weights[line])
        if np.abs(values - before).max() < _SMALL:
            break
    return _risen(np.exp(values), lines)


def _isotonic(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    fitted: np.ndarray = isotonic_regression(values, weights=weights).x
    return fitted


def _lines(places: Sequence[Place]) -> list[list[int]]:
    """Indices along each axis, the other fixed, ascending."""
    if len(places[0]) == 1:
        return [sorted(range(len(places)), key=lambda i: places[i])]
    lines: dict[tuple[int, float], list[int]] = defaultdict(list)
    for i in sorted(range(len(places)), key=lambda i: places[i]):
        for axis in (0, 1):
            lines[axis, places[i][1 - axis]].append(i)
    return list(lines.values())


def _risen(times: np.ndarray, lines: list[list[int]]) -> list[float]:
    """What rounding has left over is lifted."""
    before = None
    while before is None or (times != before).any():
        before = times.copy()
        for line in lines:
            times[line] = np.maximum.accumulate(times[line])
    result: list[float] = times.tolist()
    return result
