"""Gamma arrivals: independent gaps, more or less bursty than Poisson's."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from sim.workload.fields import Rate
from sim.workload.points import renewal
from sim.workload.table import Floats, rounded


@dataclass(frozen=True)
class Gamma:
    """Gamma-distributed gaps of mean 1 / rate_per_s and coefficient of variation `cv`.

    `vllm bench serve --burstiness b` draws gaps of shape b, so cv = 1 / sqrt(b): cv 1 is Poisson, above 1
    is burstier, below 1 more regular (for 0 take
    `constant`). Unlike there, the times are not stretched so that the last falls on count / rate.
    """

    rate_per_s: Rate
    """Requests per second. E.g. `12`."""
    cv: Annotated[float, Field(ge=0.001, le=100)]
    """Coefficient of variation of the gaps; 1 is Poisson, more is burstier. E.g. `2.5`."""

    def times(self, rng: np.random.Generator, count: int | None = None, duration_s: float | None = None) -> Floats:
        """Sorted arrival times in seconds."""
        shape = 1 / self.cv**2
        mean_gap = 1 / self.rate_per_s

        def draw(n: int) -> Floats:
            return rng.gamma(shape, mean_gap / shape, size=n)

        return rounded(renewal(draw, count, duration_s, mean_gap))
