"""The less loaded of two replicas drawn at random."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated

import numpy as np
from pydantic import Field

from sim.request import Request
from sim.routing import Candidates, Choose, ReplicaView


@dataclass(frozen=True)
class PowerOfTwo:
    """`choices` different replicas are drawn; that with the fewest unfinished requests is taken, the first of equals.

    Source: Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, IEEE TPDS 12(10), 2001; SGLang
    gateway, policy power_of_two.
    """

    choices: Annotated[int, Field(ge=1)] = 2
    """How many replicas are drawn."""

    def start(self, rng: np.random.Generator, candidates: Candidates) -> Choose:
        """A chooser that draws from `rng`."""

        def choose(request: Request) -> ReplicaView:
            return min(drawn(rng, candidates.members, self.choices), key=attrgetter("outstanding_requests"))

        return choose


def drawn(rng: np.random.Generator, members: Sequence[ReplicaView], count: int) -> list[ReplicaView]:
    """So many different members, or all, each set of them equally likely."""
    if count >= len(members):
        return [members[place] for place in rng.permutation(len(members)).tolist()]
    places: dict[int, None] = {}
    while len(places) < count:
        places[int(rng.integers(len(members)))] = None
    return [members[place] for place in places]
