"""Adapters that are all as popular."""

from dataclasses import dataclass

import numpy as np

from sim.workload.adapters.zipf import Zipf
from sim.workload.adapting import Chosen
from sim.workload.fields import Count, Share


@dataclass(frozen=True)
class Uniform:
    """`count` adapters a0, a1, ..., each as likely as the other."""

    count: Count
    """How many adapters there are. E.g. `32`."""
    base_share: Share = 0.0
    """Share of the requests that want the model without an adapter."""

    def draw(self, rng: np.random.Generator, requests: int) -> Chosen:
        """The adapter of each request."""
        return Zipf(self.count, 0.0, self.base_share).draw(rng, requests)
