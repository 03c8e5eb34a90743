"""Each replica in turn."""

from dataclasses import dataclass
from itertools import count

import numpy as np

from sim.request import Request
from sim.routing import Candidates, Choose, ReplicaView


@dataclass(frozen=True)
class RoundRobin:
    """Request k goes to replica k modulo their number."""

    def start(self, rng: np.random.Generator, candidates: Candidates) -> Choose:
        """A chooser that starts at the first replica."""
        turns = count()

        def choose(request: Request) -> ReplicaView:
            return candidates.members[next(turns) % len(candidates.members)]

        return choose
