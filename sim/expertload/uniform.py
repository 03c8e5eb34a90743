"""Every expert is as popular as the next."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Uniform:
    """What training for balance aims at; single batches are uneven all the same."""

    def popularity(self, experts: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """The same weight for each."""
        return np.ones(experts)
