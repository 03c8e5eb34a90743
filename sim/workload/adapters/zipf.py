"""Adapters of unequal popularity."""

from dataclasses import dataclass

import numpy as np

from sim.workload.adapting import Chosen, without_some
from sim.workload.content import draw_ranks
from sim.workload.fields import Count, NonNegative, Share


@dataclass(frozen=True)
class Zipf:
    """`count` adapters a0, a1, ..., of which the k-th is asked for with weight 1 / k**skew."""

    count: Count
    """How many adapters there are. E.g. `32`."""
    skew: NonNegative = 1.0
    """The k-th adapter has the weight k ** -skew; 0: all alike."""
    base_share: Share = 0.0
    """Share of the requests that want the model without an adapter."""

    def draw(self, rng: np.random.Generator, requests: int) -> Chosen:
        """The adapter of each request."""
        ranks = draw_ranks(rng, self.count, requests, self.skew)
        return Chosen(tuple(f"a{k}" for k in range(self.count)), without_some(rng, ranks, self.base_share))
