"""Popularities drawn at random, as uneven as one likes."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field


@dataclass(frozen=True)
class Dirichlet:
    """Each layer's weights are a draw of a symmetric Dirichlet distribution; a small `concentration` is uneven.

    A weight's coefficient of variation is about 1 / sqrt(concentration).
    """

    concentration: Annotated[float, Field(gt=0)] = 4.0
    """Of the distribution; small is uneven."""

    def popularity(self, experts: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """One draw."""
        return np.maximum(rng.gamma(self.concentration, size=experts), 1e-12)
