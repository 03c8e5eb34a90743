"""Short prompts to one pool, long ones to another."""

from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from sim.request import Request
from sim.routing import Candidates, Choose, ReplicaView
from sim.routing._least import Least


@dataclass(frozen=True)
class LengthSplit:
    """Up to `edges[0]` tokens to the first of `pools`, up to `edges[1]` to the second, and so on, the rest to the last.

    `by` prompt tokens, or prompt and predicted output tokens. In its pool the request goes to the replica with the
    fewest unfinished tokens; if the pool has no replica now, to that of all.
    """

    edges: tuple[Annotated[int, Field(ge=1)], ...]
    """The longest request of each pool but the last, in tokens. E.g. `[2048]`."""
    pools: tuple[str, ...]
    """Pools, from the shortest requests to the longest. E.g. `[short, long]`."""
    by: Literal["prompt", "total"] = "prompt"
    """What is measured: the prompt, or prompt and predicted output."""

    def __post_init__(self) -> None:
        if len(self.pools) != len(self.edges) + 1 or list(self.edges) != sorted(set(self.edges)):
            raise ValueError("length_split needs rising edges, and one pool more than there are edges")

    def start(self, rng: np.random.Generator, candidates: Candidates) -> Choose:
        """A chooser; that the pools exist, the scenario sees to."""
        everybody = Least(candidates, attrgetter("outstanding_tokens"))
        least = {name: Least(candidates, attrgetter("outstanding_tokens"), name) for name in self.pools}

        def choose(request: Request) -> ReplicaView:
            tokens = request.prompt_tokens + (request.predicted_tokens if self.by == "total" else 0)
            pool = least[self.pools[sum(tokens > edge for edge in self.edges)]]
            return everybody.choose() if pool.is_empty else pool.choose()

        return choose
