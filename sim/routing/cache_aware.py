"""Where a prompt's beginning was sent before, as far as the router remembers; the idlest if loads differ too much."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from sim.request import Request
from sim.routing import Candidates, Choose, ReplicaView
from sim.routing._balance import relieved
from sim.routing._index import PrefixIndex


@dataclass(frozen=True)
class CacheAware:
    """SGLang's cache-aware router: the best match of an own, approximate index, within balance thresholds.

    The replica that should have most of the prompt gets it if that is more than `cache_threshold` of it, of equals
    the one with the fewest unfinished requests; else the replica to which the fewest blocks were sent. If loads are
    out of balance (see `_balance.py`), the least loaded gets it. Source: SGLang, sgl-router/src/policies/
    cache_aware.rs and its defaults. There the index is a radix tree of characters, of one worker for each node, which
    is cut to its largest size at times; here it is one of blocks, cut as it grows.
    """

    cache_threshold: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the prompt that a replica must have, to be chosen for it."""
    balance_abs_threshold: Annotated[int, Field(ge=0)] = 64
    """Loads are out of balance if the most and the least differ by more requests than this,"""
    balance_rel_threshold: Annotated[float, Field(ge=1)] = 1.5
    """and by more than this factor."""
    block_tokens: Annotated[int, Field(ge=1)] = 16
    """Tokens in one block of the index."""
    capacity_blocks: Annotated[int, Field(ge=1)] = 1 << 20
    """2^26 characters for each worker, about 2^24 tokens."""

    def start(self, rng: np.random.Generator, candidates: Candidates) -> Choose:
        """A chooser that remembers nothing yet."""
        index = PrefixIndex(candidates, self.block_tokens, self.capacity_blocks)
        members = candidates.members

        def choose(request: Request) -> ReplicaView:
            keys = index.keys(request)
            replica = relieved(members, self.balance_abs_threshold, self.balance_rel_threshold)
            if replica is None:
                matched = index.match(keys)
                best = max((matched.get(other.index, 0) for other in members), default=0)
                if best * self.block_tokens > self.cache_threshold * request.prompt_tokens:
                    having = [other for other in members if matched.get(other.index) == best]
                    replica = min(having, key=_load)
                else:
                    replica = min(members, key=lambda other: (index.size(other.index), _load(other)))
            index.sent(replica.index, keys)
            return replica

        return choose


def _load(replica: ReplicaView) -> tuple[int, int]:
    return replica.outstanding_requests, replica.index
