"""Each replica in turn."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from sim.request import Request
from sim.routing import Choose, ReplicaView


@dataclass(frozen=True)
class RoundRobin:
    """Request k goes to replica k modulo their number."""

    def start(self, rng: np.random.Generator) -> Choose:
        """A chooser that starts at the first replica."""
        turns = count()

        def choose(request: Request, replicas: Sequence[ReplicaView]) -> int:
            return next(turns) % len(replicas)

        return choose
