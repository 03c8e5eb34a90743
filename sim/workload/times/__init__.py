"""Distributions of times, such as how long a user thinks or a tool runs: one file each."""

from typing import Protocol

import numpy as np

from sim.workload.table import Floats


class Times(Protocol):
    """A distribution of times."""

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        """f8[count] of seconds, at least 0, on the 1e-9 grid."""
        ...
