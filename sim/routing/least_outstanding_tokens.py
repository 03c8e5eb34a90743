"""The replica with the fewest tokens in flight."""

from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from sim.request import Request
from sim.routing import Candidates, Choose, ReplicaView
from sim.routing._least import Least


@dataclass(frozen=True)
class LeastOutstandingTokens:
    """Fewest prompt tokens and predicted output tokens of unfinished requests; of equals as in least_outstanding."""

    def start(self, rng: np.random.Generator, candidates: Candidates) -> Choose:
        """A chooser that starts at the first replica."""
        least = Least(candidates, attrgetter("outstanding_tokens"))

        def choose(request: Request) -> ReplicaView:
            return least.choose()

        return choose
