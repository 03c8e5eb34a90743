"""The replica with the fewest requests in flight."""

from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from sim.request import Request
from sim.routing import Candidates, Choose, ReplicaView
from sim.routing._least import Least


@dataclass(frozen=True)
class LeastOutstanding:
    """Fewest unfinished requests, waiting and running alike; of equals the one that was chosen longest ago.

    Were it always the first of them, light load would all land on one replica.
    """

    def start(self, rng: np.random.Generator, candidates: Candidates) -> Choose:
        """A chooser that starts at the first replica."""
        least = Least(candidates, attrgetter("outstanding_requests"))

        def choose(request: Request) -> ReplicaView:
            return least.choose()

        return choose
