"""A replica that should meet the latency targets, if there is one."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from sim.quantity import Seconds
from sim.request import Request
from sim.routing import Candidates, Choose, ReplicaView
from sim.routing._outlook import tpot_s, ttft_s


@dataclass(frozen=True)
class SloAware:
    """Predicts TTFT and TPOT on every replica (see `_outlook.py`) and takes one that meets both targets.

    Of these the one with the most headroom, or, to keep others free for what comes, with the `least`. If nobody meets
    them, the one that misses them by the smallest factor. Source: the idea of llm-d's predicted-latency scheduling,
    whose predictions are learned while it runs.
    """

    knows_caches: ClassVar[bool] = True

    ttft: Annotated[Seconds, Field(gt=0)]
    """Target of the time to the first token. E.g. `500ms`."""
    tpot: Annotated[Seconds, Field(gt=0)]
    """Target of the time per output token. E.g. `50ms`."""
    headroom: Literal["most", "least"] = "most"
    """Of the replicas that meet the targets, the one with the most room or the least."""

    def start(self, rng: np.random.Generator, candidates: Candidates) -> Choose:
        """A chooser that predicts for every replica."""
        members = candidates.members

        def choose(request: Request) -> ReplicaView:
            def rank(replica: ReplicaView) -> tuple[bool, float, int, int]:
                needed = max(ttft_s(replica, request) / self.ttft, tpot_s(replica, request) / self.tpot)
                first = -needed if self.headroom == "least" and needed <= 1 else needed
                return needed > 1, first, replica.outstanding_requests, replica.index

            return min(members, key=rank)

        return choose
