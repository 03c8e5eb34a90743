"""All turns of a session to one replica, which has their KV blocks."""

from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated

import numpy as np
from pydantic import Field

from sim.request import Request
from sim.routing import Candidates, Choose, ReplicaView
from sim.routing._least import Least
from sim.routing._ring import Ring


@dataclass(frozen=True)
class SessionAffinity:
    """A consistent hash of the session; a request of none goes to the replica with the fewest requests.

    No replica gets more than `load_factor` times the mean number of unfinished requests; null: no bound, as the
    session router of vLLM's production stack.
    """

    load_factor: Annotated[float, Field(gt=1)] | None = 1.25
    """No replica gets more than so many times the mean number of unfinished requests; null: no bound."""

    def start(self, rng: np.random.Generator, candidates: Candidates) -> Choose:
        """A chooser with every replica on its ring."""
        ring = Ring(candidates, self.load_factor)
        least = Least(candidates, attrgetter("outstanding_requests"))

        def choose(request: Request) -> ReplicaView:
            return least.choose() if request.session < 0 else ring.choose(request.session)

        return choose
