"""A few experts are picked much more often than most."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field


@dataclass(frozen=True)
class Zipf:
    """The n-th most popular expert has the weight n ** -exponent; which one that is differs from layer to layer."""

    exponent: Annotated[float, Field(ge=0)] = 0.5
    """The n-th most popular expert has the weight n ** -exponent."""

    def popularity(self, experts: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """The weights in a random order."""
        weights: NDArray[np.float64] = np.arange(1, experts + 1, dtype=np.float64) ** -self.exponent
        return rng.permutation(weights)
