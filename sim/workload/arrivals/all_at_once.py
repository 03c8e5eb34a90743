"""A batch job: every request is there at the start."""

from dataclasses import dataclass

import numpy as np

from sim.errors import ScenarioError
from sim.workload.table import Floats


@dataclass(frozen=True)
class AllAtOnce:
    """All requests arrive at time 0 (`vllm bench serve --request-rate inf`, and offline throughput)."""

    def times(self, rng: np.random.Generator, count: int | None = None, duration_s: float | None = None) -> Floats:
        """f8[count] of zeros. Raises ScenarioError without a count: a duration bounds nothing here."""
        if count is None:
            raise ScenarioError("arrivals: all_at_once needs requests: (a count)")
        return np.zeros(count)
