"""The error of a fit: what the simulator predicts for the points that were held out, against what was measured."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibrate.fit.chosen import Chosen
from sim.hardware import Profile
from sim.latency import roofline
from sim.latency.curves import Curves, interpolate
from sim.latency.neighbours import borrow
from sim.latency.points import COLUMNS, Key
from sim.latency.shapes import PRODUCTS, has_roofline, operation_at
from sim.models.operations import Heads

GOALS = {"gemm": 0.03, "attention_prefill": 0.05, "attention_decode": 0.05}
"""Median absolute percentage errors that a profile should reach."""
LEAST_POINTS = 5
"""Fewer held-out points say nothing about a goal."""


@dataclass(frozen=True)
class Prediction:
    """A held-out point: measured and predicted seconds, and whether it lay outside the fitted range."""

    point: Chosen
    predicted_s: float
    extrapolated: bool

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted_s / self.point.time_s - 1.0


def predict(points: Sequence[Chosen], profile: Profile) -> list[Prediction]:
    """What the simulator's own curves say at these points."""
    curves = Curves(profile)
    found: list[Prediction] = []
    for key, own in _by_curve(points).items():
        if not has_roofline(key[0]) and key not in curves.measured:
            continue  # nothing could be said of it
        places = np.array([point.place for point in own])
        times, outside = _at(curves, key, places)
        found += [
            Prediction(point, float(time_s), bool(out)) for point, time_s, out in zip(own, times, outside, strict=True)
        ]
    return found


def predict_unseen(points: Sequence[Chosen], profile: Profile) -> list[Prediction]:
    """What neighbours say of every matrix product that they can stand for, its own points left out."""
    curves = Curves(profile)
    measured = dict(curves.measured)
    found: list[Prediction] = []
    for key, own in _by_curve(point for point in points if point.key[0] in PRODUCTS).items():
        others = {other: measured[other] for other in measured if other != key}
        borrowed = borrow(key, others, profile)
        if borrowed is None or borrowed.far:
            continue
        xs = np.array([place[0] for place, _ in borrowed.points])
        ys = np.array([time_s for _, time_s in borrowed.points])
        places = np.array([point.place[0] for point in own])
        times = interpolate(places, xs, ys)
        for point, time_s in zip(own, times.tolist(), strict=True):
            if xs[0] <= point.place[0] <= xs[-1]:
                found.append(Prediction(point, time_s, False))
    return found


def summary(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """points, median and p95 of |error|, median error with its sign, and how many were extrapolated."""
    errors = np.array([prediction.error for prediction in predictions])
    return {
        "points": len(errors),
        "median": float(np.median(np.abs(errors))),
        "p95": float(np.percentile(np.abs(errors), 95)),
        "bias": float(np.median(errors)),
        "extrapolated": sum(prediction.extrapolated for prediction in predictions),
    }


def by_op(predictions: Sequence[Prediction]) -> dict[str, list[Prediction]]:
    """The predictions of each op, in the order of the table of points."""
    found: dict[str, list[Prediction]] = {op: [] for op in COLUMNS}
    for prediction in predictions:
        found[prediction.point.key[0]].append(prediction)
    return {op: own for op, own in found.items() if own}


def _by_curve(points: Iterable[Chosen]) -> dict[Key, list[Chosen]]:
    curves: dict[Key, list[Chosen]] = defaultdict(list)
    for point in points:
        curves[point.key].append(point)
    return curves


def _at(curves: Curves, key: Key, places: np.ndarray) -> tuple[Any, Any]:
    """(seconds, extrapolated?) at places of a curve."""
    op = key[0]
    if not has_roofline(op):
        return _straight(curves, key, places)
    if op == "attention_decode":
        return _decode(curves, key, places)
    operation = operation_at(key, places)
    if op != "attention_prefill":
        return curves.seconds(operation)
    grid = curves.prefill(operation)
    if grid is None:
        return roofline.seconds(operation, curves.profile), np.ones(len(places), dtype=bool)

    def roof(new: float, context: float) -> float:
        one: Any = roofline.seconds(operation_at(key, np.array([[new, context]])), curves.profile)
        return float(one[0])

    grid.scaled_by(roof)
    ratios = [grid.ratio(int(new), int(context)) for new, context in places]
    roofs = [roof(new, context) for new, context in places]
    return [ratio * at for (ratio, _), at in zip(ratios, roofs, strict=True)], [outside for _, outside in ratios]


def _decode(curves: Curves, key: Key, places: np.ndarray) -> tuple[list[float], list[bool]]:
    heads = Heads(*(int(cell) for cell in key[2:]))
    times, outside = [], []
    for batch, context in places.tolist():
        line = curves.decode(heads.decode(int(batch), int(batch), key[1]))
        times.append(line.at(batch * context))
        outside.append(batch * context > line.limit)
    return times, outside


def _straight(curves: Curves, key: Key, places: np.ndarray) -> tuple[Any, Any]:
    """Copies, launches and the host's step, which no step time reads yet: straight lines."""
    points = curves.measured[key]
    xs, ys = np.array([place[0] for place, _ in points]), np.array([time_s for _, time_s in points])
    return interpolate(places[:, 0], xs, ys), (places[:, 0] < xs[0]) | (places[:, 0] > xs[-1])
