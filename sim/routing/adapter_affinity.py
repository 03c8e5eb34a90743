"""Requests for one LoRA adapter go to the same few replicas, so that each needs slots for few adapters.

Every adapter has an order of its own of the replicas (by a hash, so that few change when a replica comes or goes), and
a request goes to the first whose unfinished requests, with it, are at most `load_factor` times the mean of all. Popular
adapters spread over several replicas, rare ones stay on one. Requests without an adapter go to the least loaded.

Source: Mirrokni, Thorup, Zadimoghaddam, Consistent Hashing with Bounded Loads, SODA 2018; the order is that of
rendezvous hashing (Thaler, Ravishankar 1998).
"""

from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from math import ceil
from typing import Annotated

import numpy as np
from pydantic import Field

from sim.request import NO_ADAPTER, Request
from sim.routing import Candidates, Choose, ReplicaView


@dataclass(frozen=True)
class AdapterAffinity:
    """The first replica in its adapter's own order that is not too loaded."""

    load_factor: Annotated[float, Field(ge=1)] = 1.25
    """Unfinished requests of one replica over the mean, beyond which it takes none."""

    def start(self, rng: np.random.Generator, candidates: Candidates) -> Choose:
        """A chooser."""
        members = candidates.members

        def choose(request: Request) -> ReplicaView:
            loads = [replica.outstanding_requests for replica in members]
            most = ceil(self.load_factor * (sum(loads) + 1) / len(loads))
            if request.adapter == NO_ADAPTER:
                return min(members, key=lambda replica: (replica.outstanding_requests, replica.index))
            fitting = (replica for replica in members if replica.outstanding_requests < most)
            return min(fitting, key=lambda replica: _rank(request.adapter, replica.index))

        return choose


@cache
def _rank(adapter: int, replica: int) -> bytes:
    """Where the replica stands in the adapter's order: the same on every machine."""
    return blake2b(b"%d %d" % (adapter, replica), digest_size=8).digest()
