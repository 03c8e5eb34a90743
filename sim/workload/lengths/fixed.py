"""Every length the same."""

from dataclasses import dataclass

import numpy as np

from sim.workload.fields import Tokens
from sim.workload.table import Ints


@dataclass(frozen=True)
class Fixed:
    """Always `tokens` tokens."""

    tokens: Tokens
    """The length. E.g. `512`."""

    def draw(self, rng: np.random.Generator, count: int) -> Ints:
        """i8[count]; draws nothing from `rng`."""
        return np.full(count, self.tokens, dtype=np.int64)
