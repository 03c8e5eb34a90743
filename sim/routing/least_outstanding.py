"""The replica with the fewest requests in flight."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim.request import Request
from sim.routing import Choose, ReplicaView


@dataclass(frozen=True)
class LeastOutstanding:
    """Fewest unfinished requests, waiting and running alike; of equals the first after the last choice.

    Without the turning start, light load would all land on the first replica.
    """

    def start(self, rng: np.random.Generator) -> Choose:
        """A chooser that starts at the first replica."""
        first = 0

        def choose(request: Request, replicas: Sequence[ReplicaView]) -> int:
            nonlocal first
            loads = [replica.outstanding_requests for replica in replicas]
            least = min(loads)
            chosen = loads.index(least, first if least in loads[first:] else 0)
            first = (chosen + 1) % len(loads)
            return chosen

        return choose
