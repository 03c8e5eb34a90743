"""When the clients of a synthetic workload give up (the folder `patience`)."""

from typing import NamedTuple, Protocol

import numpy as np

from sim.workload.table import Floats, Ints


class GiveUp(NamedTuple):
    """For each request: seconds after its arrival, tokens of the answer; infinite, MAX_TOKENS: never."""

    after_s: Floats | None = None
    after_tokens: Ints | None = None


class Patience(Protocol):
    """How long clients wait and read."""

    def draw(self, rng: np.random.Generator, count: int) -> GiveUp:
        """When each of `count` clients gives up."""
        ...
