"""A fixed number of users, each waiting for the answer before asking again."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sim.quantity import Seconds
from sim.workload.fields import Count
from sim.workload.table import Floats, rounded


@dataclass(frozen=True)
class ClosedLoop:
    """`users` users; each sends its next request a think time after its previous answer.

    Think times are `fixed`, or `exponential` with mean `think_s`; the first request of a user also waits
    for one. With think_s 0 this is `vllm bench serve --max-concurrency users --request-rate inf`.
    """

    users: Count
    """How many send requests. E.g. `64`."""
    think_s: Seconds = 0.0
    """From an answer to the user's next request. E.g. `2s`."""
    think: Literal["fixed", "exponential"] = "fixed"
    """Always that long, or exponential with that mean."""

    def think_times(self, rng: np.random.Generator, count: int) -> Floats:
        """f8[count]: seconds between the previous answer and each request."""
        if self.think == "fixed":
            return np.full(count, self.think_s)
        return rounded(rng.standard_exponential(count) * self.think_s)
