"""Always the same time."""

from dataclasses import dataclass

import numpy as np

from sim.quantity import Seconds
from sim.workload.table import Floats


@dataclass(frozen=True)
class Fixed:
    """Always `time`."""

    time: Seconds
    """The time. E.g. `5s`."""

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        """f8[count] of seconds; draws nothing from `rng`."""
        return np.full(count, self.time)
