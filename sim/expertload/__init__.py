"""How evenly a mixture's router spreads tokens over its experts. One file each.

A distribution is a small frozen declaration; `popularity` gives the weights of one layer's experts.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class ExpertLoad(Protocol):
    """Which experts a mixture's router picks how often."""

    def popularity(self, experts: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Weights of one layer's experts, more than 0 each, in the order in which they lie on the GPUs."""
