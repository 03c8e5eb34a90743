"""Any replica, each equally likely."""

from dataclasses import dataclass

import numpy as np

from sim.request import Request
from sim.routing import Candidates, Choose, ReplicaView


@dataclass(frozen=True)
class Random:
    """Uniform and independent of everything else."""

    def start(self, rng: np.random.Generator, candidates: Candidates) -> Choose:
        """A chooser that draws from `rng`."""

        def choose(request: Request) -> ReplicaView:
            return candidates.members[int(rng.integers(len(candidates.members)))]

        return choose
