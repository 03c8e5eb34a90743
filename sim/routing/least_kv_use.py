"""The replica with the most room in its KV cache."""

from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from sim.request import Request
from sim.routing import Candidates, Choose, ReplicaView
from sim.routing._least import Least


@dataclass(frozen=True)
class LeastKvUse:
    """Smallest share of KV blocks held by running requests; of equals as in least_outstanding.

    A request in the queue holds none yet, so that a burst may all go to one replica.
    """

    def start(self, rng: np.random.Generator, candidates: Candidates) -> Choose:
        """A chooser that starts at the first replica."""
        least = Least(candidates, attrgetter("kv_used_share"))

        def choose(request: Request) -> ReplicaView:
            return least.choose()

        return choose
