"""Exponential times: the end is equally near at any moment."""

from dataclasses import dataclass

import numpy as np

from sim.quantity import Seconds
from sim.workload.table import Floats, rounded


@dataclass(frozen=True)
class Exponential:
    """Exponential with the given mean."""

    mean: Seconds
    """Mean time. E.g. `20s`."""

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        """f8[count] of seconds."""
        return rounded(rng.standard_exponential(count) * self.mean)
