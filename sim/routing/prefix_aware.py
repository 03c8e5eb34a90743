"""Where most of the prompt is in the KV cache, of which the router knows every block."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from sim.request import Request
from sim.routing import Candidates, Choose, ReplicaView
from sim.routing._balance import relieved


@dataclass(frozen=True)
class PrefixAware:
    """The replica with the most cached tokens, if these are more than `cache_threshold` of the prompt.

    Of equals, and if nobody has so many, the one with the fewest unfinished requests. If loads are out of balance
    (see `_balance.py`), the least loaded gets it. As SGLang's cache-aware router (see cache_aware.py), but told by
    the engines what they keep, as llm-d's precise scorer and Dynamo's indexer are. With a threshold of 0 a beginning
    that all prompts share draws everybody to the replica that has it.
    """

    knows_caches: ClassVar[bool] = True

    cache_threshold: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the prompt that a replica must have, to be chosen for it."""
    balance_abs_threshold: Annotated[int, Field(ge=0)] = 64
    """Loads are out of balance if the most and the least differ by more requests than this,"""
    balance_rel_threshold: Annotated[float, Field(ge=1)] = 1.5
    """and by more than this factor."""

    def start(self, rng: np.random.Generator, candidates: Candidates) -> Choose:
        """A chooser that asks every replica."""
        members = candidates.members

        def choose(request: Request) -> ReplicaView:
            replica = relieved(members, self.balance_abs_threshold, self.balance_rel_threshold)
            if replica is not None:
                return replica
            least = self.cache_threshold * request.prompt_tokens

            def rank(other: ReplicaView) -> tuple[int, int, int]:
                cached = other.cached_tokens(request)
                return -cached if cached > least else 0, other.outstanding_requests, other.index

            return min(members, key=rank)

        return choose
