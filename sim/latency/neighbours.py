"""Shapes that nobody measured, from the measured shapes like them.

How much slower than its roofline a kernel runs changes little from one shape to the next, while the roofline
itself is known for every shape. So a curve that is missing gets points: at the places of its neighbours, the
curves of the same op and number format whose shapes are nearest, the roofline of the missing shape times the
neighbours' mean ratio of measured time to roofline. A neighbour's weight is one over the square of how far away
it is.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sim.hardware import Profile
from sim.latency import roofline
from sim.latency.points import COLUMNS, Key, Point
from sim.latency.shapes import ATTENTION, PRODUCTS, operation_at, split

_NEIGHBOURS = 4
NEAR, FARTHEST = 2.0, 4.0
"""A shape farther than NEAR from the nearest measured one is extrapolated: the generic grid of a plan has steps of
two. One that has no neighbour within FARTHEST is left to the roofline."""


class Borrowed(NamedTuple):
    """Points of a curve that was not measured. far: outside what was measured."""

    points: list[Point]
    far: bool


class _Neighbour(NamedTuple):
    weight: float
    ratios: dict[tuple[float, ...], float]
    """place -> measured / roofline, ascending"""

    def at(self, place: tuple[float, ...]) -> float | None:
        """The ratio at a place: straight between points and constant beyond them; None off the points of a grid."""
        if place in self.ratios or len(place) > 1:
            return self.ratios.get(place)
        places = list(self.ratios)
        i = bisect_left(places, place)
        if i == 0 or i == len(places):
            return self.ratios[places[min(i, len(places) - 1)]]
        (low,), (high,) = places[i - 1], places[i]
        below, above = self.ratios[places[i - 1]], self.ratios[places[i]]
        return below + (place[0] - low) / (high - low) * (above - below)


def borrow(key: Key, measured: Mapping[Key, list[Point]], profile: Profile) -> Borrowed | None:
    """Points of a curve that was not measured; None where no measured curve is like it.

    Matrix products and attention only: the other ops have no shape beside the places on their curve.
    """
    if key[0] not in (*PRODUCTS, *ATTENTION):
        return None
    kind, shape = split(key)
    known = ((distance(shape, split(other)[1]), other) for other in measured if split(other)[0] == kind)
    found = sorted((away, other) for away, other in known if away <= FARTHEST)
    if not found:
        return None
    nearest_away, nearest = found[0]
    neighbours = [
        _Neighbour(1.0 / ((away - 1.0) * (away - 1.0)), _ratios(other, measured[other], profile))
        for away, other in found[:_NEIGHBOURS]
    ]
    places = [place for place, _ in measured[nearest]]
    if len(COLUMNS[key[0]].axes) == 1:
        places = sorted({place for neighbour in neighbours for place in neighbour.ratios})
    roofs = _roofs(key, places, profile)
    points = [(place, roof * _mean(neighbours, place)) for place, roof in zip(places, roofs, strict=True)]
    return Borrowed(points, nearest_away > NEAR)


def distance(shape: tuple[float, ...], other: tuple[float, ...]) -> float:
    """The product over the dimensions of the larger over the smaller: 1 for the same shape, 2 for one doubled."""
    return math.prod(max(a, b) / min(a, b) for a, b in zip(shape, other, strict=True))


def _mean(neighbours: list[_Neighbour], place: tuple[float, ...]) -> float:
    total = weights = 0.0
    for neighbour in neighbours:
        ratio = neighbour.at(place)
        if ratio is not None:
            total += neighbour.weight * ratio
            weights += neighbour.weight
    return total / weights


def _ratios(key: Key, points: list[Point], profile: Profile) -> dict[tuple[float, ...], float]:
    roofs = _roofs(key, [place for place, _ in points], profile)
    return {place: time_s / roof for (place, time_s), roof in zip(points, roofs, strict=True)}


def _roofs(key: Key, places: Any, profile: Profile) -> list[float]:
    seconds: Any = roofline.seconds(operation_at(key, np.array(places, dtype=np.float64)), profile)
    roofs: list[float] = np.asarray(seconds, dtype=np.float64).tolist()
    return roofs
