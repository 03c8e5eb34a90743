"""Clients that have read enough."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from sim.choice import Choice
from sim.workload.fields import Share
from sim.workload.giveup import GiveUp
from sim.workload.table import MAX_TOKENS


@dataclass(frozen=True)
class StopsReading:
    """A `share` of the requests is cancelled with the `tokens`-th token of the answer, if it has more.

    `tokens` is a distribution of lengths. No token after that one is computed.
    """

    tokens: Annotated[Any, Choice("sim.workload.lengths")]
    """The output token with which the client leaves: a drawn length. E.g. `{fixed: {tokens: 100}}`."""
    share: Share = 1.0
    """Part of the requests that may be cancelled."""

    def draw(self, rng: np.random.Generator, count: int) -> GiveUp:
        """When each client gives up."""
        stops = rng.random(count) < self.share
        return GiveUp(after_tokens=np.where(stops, self.tokens.draw(rng, count), MAX_TOKENS))
