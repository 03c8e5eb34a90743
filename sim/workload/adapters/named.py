"""Adapters with names and shares."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from sim.workload.adapting import Chosen, without_some
from sim.workload.fields import Positive, Share


@dataclass(frozen=True)
class Named:
    """Adapters by name, each with its weight: {sql: 3, legal: 1}."""

    weights: Annotated[dict[str, Positive], Field(min_length=1)]
    """Adapter -> weight. E.g. `{sql: 3, legal: 1}`."""
    base_share: Share = 0.0
    """Share of the requests that want the model without an adapter."""

    def draw(self, rng: np.random.Generator, requests: int) -> Chosen:
        """The adapter of each request."""
        shares = np.array(list(self.weights.values()))
        picked = rng.choice(len(shares), size=requests, p=shares / shares.sum())
        return Chosen(tuple(self.weights), without_some(rng, picked, self.base_share))
