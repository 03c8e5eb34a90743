"""Poisson arrivals: independent exponential gaps."""

from dataclasses import dataclass

import numpy as np

from sim.workload.fields import Rate
from sim.workload.points import poisson_areas
from sim.workload.table import Floats, rounded


@dataclass(frozen=True)
class Poisson:
    """A Poisson process of `rate_per_s` requests per second.

    As in `vllm bench serve --request-rate`, the first request comes after one gap. Unlike there, the times
    are not stretched so that the last falls on count / rate: a window's count keeps its Poisson spread.
    """

    rate_per_s: Rate
    """Requests per second. E.g. `12`."""

    def times(self, rng: np.random.Generator, count: int | None = None, duration_s: float | None = None) -> Floats:
        """Sorted arrival times in seconds."""
        end = None if duration_s is None else duration_s * self.rate_per_s
        return rounded(poisson_areas(rng, count, end) / self.rate_per_s)
