"""The cheapest replica in KV blocks to compute and to keep, as Dynamo's KV router counts them."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from sim.request import Request
from sim.routing import Candidates, Choose, ReplicaView
from sim.routing.weighted_score import one_of_the_best


@dataclass(frozen=True)
class KvCost:
    """Cost = `overlap_score_weight` * prefill blocks + decode blocks; the lowest is taken, any of equals.

    Prefill blocks: what is still to be computed there, and what of this prompt is not cached. Decode blocks: what
    running requests hold, what waiting ones will, and this prompt. With a `temperature` the costs, scaled to 0..1, are
    softmax-sampled instead. Source: NVIDIA Dynamo, docs/design_docs/router_design.md, Cost Calculation, and
    lib/kv-router, selector (softmax_sample).
    """

    knows_caches: ClassVar[bool] = True

    overlap_score_weight: Annotated[float, Field(ge=0)] = 1.0
    """What a block to be computed costs beside a block that is held."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """Of the softmax that draws a replica; 0: the cheapest one."""

    def start(self, rng: np.random.Generator, candidates: Candidates) -> Choose:
        """A chooser that asks every replica."""
        members = candidates.members

        def choose(request: Request) -> ReplicaView:
            costs = [self._cost(replica, request) for replica in members]
            if self.temperature == 0:
                return members[one_of_the_best(rng, [-cost for cost in costs])]
            least, most = min(costs), max(costs)
            if least == most:
                return members[int(rng.integers(len(members)))]
            weights = np.exp(-(np.array(costs) - least) / (most - least) / self.temperature)
            place = np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), side="right")
            return members[min(int(place), len(members) - 1)]

        return choose

    def _cost(self, replica: ReplicaView, request: Request) -> float:
        size = replica.block_size
        waiting = replica.prefill_tokens
        prefill = (waiting + request.prompt_tokens - replica.cached_tokens(request)) / size
        decode = replica.kv_used_blocks + (waiting + request.prompt_tokens) / size
        return self.overlap_score_weight * prefill + decode
