"""Lengths spread evenly between two bounds."""

from dataclasses import dataclass

import numpy as np

from sim.workload.fields import Tokens
from sim.workload.table import Ints


@dataclass(frozen=True)
class Uniform:
    """Every whole number from `low` to `high`, both included, equally likely."""

    low: Tokens
    """Shortest length, in tokens. E.g. `100`."""
    high: Tokens
    """Longest length, in tokens. E.g. `500`."""

    def __post_init__(self) -> None:
        if self.high < self.low:
            raise ValueError(f"high ({self.high}) must be at least low ({self.low})")

    def draw(self, rng: np.random.Generator, count: int) -> Ints:
        """i8[count] of tokens."""
        return rng.integers(self.low, self.high, size=count, endpoint=True)
