"""A Poisson process whose rate follows given points."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from sim.errors import ScenarioError
from sim.quantity import Seconds
from sim.workload.fields import RateOrZero
from sim.workload.points import RateCurve, poisson_areas
from sim.workload.table import Floats, rounded


@dataclass(frozen=True)
class Piecewise:
    """A Poisson process with rate given at points `[[start, requests per second], ...]`, the first at 0.

    `interpolate: step` holds each rate until the next point, `linear` joins the points by lines; after the
    last point its rate stays. Exact, by inverting the integrated rate: the same seed gives the same
    underlying points whatever the rates.
    """

    rates: tuple[tuple[Seconds, RateOrZero], ...]
    """Points [start, requests per second]. E.g. `[[0s, 5], [10min, 20]]`."""
    interpolate: Literal["step", "linear"] = "step"
    """Keep a rate until the next point, or go to it in a straight line."""

    def __post_init__(self) -> None:
        starts = [start for start, _ in self.rates]
        if not starts or starts[0] != 0:
            raise ValueError("the first point must be at time 0: rates: [[0, 5], [60s, 20]]")
        for before, after in pairwise(starts):
            if after <= before:
                raise ValueError(f"start times must increase, but {after:g} s follows {before:g} s")
        if not any(rate > 0 for _, rate in self.rates):
            raise ValueError("every rate is 0, so nothing would arrive; give a rate above 0")

    def curve(self) -> RateCurve:
        """The rate over time."""
        starts, rates = np.array(self.rates, dtype=np.float64).T
        return RateCurve.steps(starts, rates) if self.interpolate == "step" else RateCurve.lines(starts, rates)

    def times(self, rng: np.random.Generator, count: int | None = None, duration_s: float | None = None) -> Floats:
        """Sorted arrival times in seconds.

        Raises ScenarioError when the last rate is 0 and `count` requests never arrive.
        """
        curve = self.curve()
        end = None if duration_s is None else curve.area(duration_s)
        times = curve.invert(poisson_areas(rng, count, end))
        if not np.isfinite(times).all():
            arrived = int(np.isfinite(times).sum())
            raise ScenarioError(
                f"arrivals: piecewise ends with rate 0, so only {arrived} of {count} requests arrive; "
                "end with a rate above 0, or give duration:"
            )
        return rounded(times)
