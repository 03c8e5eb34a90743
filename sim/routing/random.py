"""Any replica, each equally likely."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim.request import Request
from sim.routing import Choose, ReplicaView


@dataclass(frozen=True)
class Random:
    """Uniform and independent of everything else."""

    def start(self, rng: np.random.Generator) -> Choose:
        """A chooser that draws from `rng`."""

        def choose(request: Request, replicas: Sequence[ReplicaView]) -> int:
            return int(rng.integers(len(replicas)))

        return choose
