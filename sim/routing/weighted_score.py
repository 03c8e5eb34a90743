"""The best weighted sum of scores: prefix, queue and KV use, as llm-d's endpoint picker adds them up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from sim.request import Request
from sim.routing import Candidates, Choose, ReplicaView
from sim.routing._index import PrefixIndex

Weight = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class WeightedScore:
    """Scores from 0 to 1, times their weights; the highest sum is taken, any of equals.

    Prefix: the share of the prompt's first tokens that are cached. Queue: 1 for the fewest waiting requests, 0 for the
    most. KV use: the free share of the KV cache. Source: llm-d and the Gateway API Inference Extension,
    prefix-cache-scorer, queue-scorer, kv-cache-utilization-scorer with its default weights, max-score-picker.

    `prefixes` says how the router knows of prefixes: `exact` (llm-d: precise-prefix-cache-scorer) or `approximate`,
    by an own index of the last `capacity_blocks` blocks sent to each replica.
    """

    prefix: Weight = 3.0
    """Weight of the share of the prompt that is cached."""
    queue: Weight = 2.0
    """Weight of a short queue."""
    kv_use: Weight = 2.0
    """Weight of free KV memory."""
    prefixes: Literal["exact", "approximate"] = "approximate"
    """Told by the engines what they keep, or remembered by the router."""
    block_tokens: Annotated[int, Field(ge=1)] = 16
    """Tokens in one block of the router's index."""
    capacity_blocks: Annotated[int, Field(ge=1)] = 31_250
    """Blocks that the index remembers for each replica."""
    max_blocks: Annotated[int, Field(ge=1)] = 256
    """Blocks of a prompt that the approximate index looks at."""

    @property
    def knows_caches(self) -> bool:
        """Whether the engines must tell what they keep."""
        return self.prefixes == "exact" and self.prefix > 0

    def start(self, rng: np.random.Generator, candidates: Candidates) -> Choose:
        """A chooser that remembers nothing yet."""
        index = PrefixIndex(candidates, self.block_tokens, self.capacity_blocks)
        members = candidates.members

        def choose(request: Request) -> ReplicaView:
            keys = index.keys(request)[: self.max_blocks] if self.prefix and not self.knows_caches else []
            matched = index.match(keys)
            scores = [0.0] * len(members)
            for place, replica in enumerate(members):
                if self.knows_caches:
                    scores[place] += self.prefix * replica.cached_tokens(request) / request.prompt_tokens
                elif keys:
                    scores[place] += self.prefix * matched.get(replica.index, 0) / len(keys)
                if self.kv_use:
                    scores[place] += self.kv_use * (1 - replica.kv_used_share)
            if self.queue:
                for place, score in enumerate(_queue_scores(members)):
                    scores[place] += self.queue * score
            replica = members[one_of_the_best(rng, scores)]
            index.sent(replica.index, keys)
            return replica

        return choose


def _queue_scores(members: Sequence[ReplicaView]) -> list[float]:
    queues = [replica.waiting_requests for replica in members]
    most, least = max(queues), min(queues)
    return [(most - queue) / (most - least) if most > least else 1.0 for queue in queues]


def one_of_the_best(rng: np.random.Generator, scores: Sequence[float]) -> int:
    """The place of the highest score; of equals each is equally likely."""
    highest = max(scores)
    best = [place for place, score in enumerate(scores) if score == highest]
    return best[0] if len(best) == 1 else best[int(rng.integers(len(best)))]
