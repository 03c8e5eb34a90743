"""Evenly spaced arrivals."""

from dataclasses import dataclass

import numpy as np

from sim.workload.fields import Rate
from sim.workload.points import renewal
from sim.workload.table import Floats, rounded


@dataclass(frozen=True)
class Constant:
    """One request every 1 / rate_per_s seconds, the first at 0.

    (`vllm bench serve` sends the first one gap later.)
    """

    rate_per_s: Rate
    """Requests per second. E.g. `12`."""

    def times(self, rng: np.random.Generator, count: int | None = None, duration_s: float | None = None) -> Floats:
        """Arrival times i / rate_per_s; draws nothing from `rng`. 60 s at 1 per second are 60 requests."""
        end = None if duration_s is None else duration_s * self.rate_per_s + 1
        number = len(renewal(np.ones, count, end, 1.0))  # sums of ones are exact
        times = rounded(np.arange(number) / self.rate_per_s)
        return times if duration_s is None else times[times < duration_s]
