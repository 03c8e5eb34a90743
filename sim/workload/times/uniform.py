"""Times spread evenly between two bounds."""

from dataclasses import dataclass

import numpy as np

from sim.quantity import Seconds
from sim.workload.table import Floats, rounded


@dataclass(frozen=True)
class Uniform:
    """Any time from `low` to `high`, equally likely."""

    low: Seconds
    """Shortest time. E.g. `1s`."""
    high: Seconds
    """Longest time. E.g. `30s`."""

    def __post_init__(self) -> None:
        if self.high < self.low:
            raise ValueError(f"high ({self.high:g} s) must be at least low ({self.low:g} s)")

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        """f8[count] of seconds."""
        return rounded(rng.uniform(self.low, self.high, count))
