"""Log-normal times: mostly short, now and then very long, as people read and tools run."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from sim.quantity import Seconds
from sim.workload.lengths.lognormal import Z99
from sim.workload.table import Floats, rounded

_Time = Annotated[Seconds, Field(gt=0)]


@dataclass(frozen=True)
class Lognormal:
    """Log-normal with the given median and 99th percentile; times above `max` are set to it."""

    median: _Time
    """Median time. E.g. `8s`."""
    p99: _Time
    """99th percentile. E.g. `2min`."""
    max: _Time = 366 * 86400.0
    """Longer ones are cut to this. E.g. `10min`."""

    def __post_init__(self) -> None:
        if self.p99 < self.median:
            raise ValueError(f"p99 ({self.p99:g} s) must be at least the median ({self.median:g} s)")

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        """f8[count] of seconds."""
        sigma = math.log(self.p99 / self.median) / Z99
        return rounded(np.minimum(self.median * np.exp(sigma * rng.standard_normal(count)), self.max))
