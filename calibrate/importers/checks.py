"""What is wrong with imported times, and how they compare with the base's roofline."""

from typing import NamedTuple

import numpy as np

from calibrate.fit.screen import Limits
from calibrate.importers.collection import Collection
from calibrate.importers.shapes import Array
from sim.hardware import Profile
from sim.latency import roofline
from sim.latency.points import COLUMNS, Key
from sim.latency.shapes import has_roofline, operation_at

_LARGEST_L2_BYTES = 128.0 * 2**20
_OVER_PEAK = 1.05


class Operations(NamedTuple):
    """What an import has of one op: curves, points, least and most along each axis, times over the roofline."""

    op: str
    curves: int
    points: int
    ranges: dict[str, tuple[float, float]]
    over_roofline: tuple[float, float, float] | None
    """Median, p10 and p90 of imported time / the base's roofline."""


def drop_impossible(out: Collection, base: Profile) -> None:
    """Leave out times that no such GPU reaches: above its peak FLOP/s, or its bandwidth on what no cache holds."""
    limits = Limits(base, _LARGEST_L2_BYTES)
    for key, points in list(out.curves.items()):
        places, times = points.medians()
        least = limits.least_s(key, places)
        if least is None:
            continue
        bad = np.flatnonzero(times * _OVER_PEAK < least)
        out.skip(key[0], f"faster than {base.name} can be: not a time of the whole operation", len(bad))
        for i in bad:
            del points.times[tuple(places[i].tolist())]
        if not points.times:
            del out.curves[key]


def operations(out: Collection, base: Profile) -> list[Operations]:
    """What there is of each op, in the order of the table of points."""
    found: dict[str, list[tuple[Key, Array, Array]]] = {}
    for key, points in out.ordered():
        found.setdefault(key[0], []).append((key, *points.medians()))
    return [_of(op, curves, base) for op, curves in found.items()]


def _of(op: str, curves: list[tuple[Key, Array, Array]], base: Profile) -> Operations:
    places = np.concatenate([places for _, places, _ in curves])
    least, most = places.min(axis=0).tolist(), places.max(axis=0).tolist()
    over = None
    if has_roofline(op):
        ratios = np.concatenate(
            [times / np.asarray(roofline.seconds(operation_at(key, at), base)) for key, at, times in curves]
        )
        over = (float(np.median(ratios)), float(np.percentile(ratios, 10)), float(np.percentile(ratios, 90)))
    ranges = dict(zip(COLUMNS[op].axes, zip(least, most, strict=True), strict=True))
    return Operations(op, len(curves), len(places), ranges, over)
