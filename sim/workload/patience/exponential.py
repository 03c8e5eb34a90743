"""Clients whose patience ends at a constant rate, as customers in call centres."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from sim.quantity import Seconds
from sim.workload.fields import Share
from sim.workload.giveup import GiveUp


@dataclass(frozen=True)
class Exponential:
    """A `share` of the requests is cancelled after an exponential time, unless the whole answer is there."""

    mean: Annotated[Seconds, Field(gt=0)]
    """Mean time until the client gives up. E.g. `20s`."""
    share: Share = 1.0
    """Part of the requests that may be cancelled."""

    def draw(self, rng: np.random.Generator, count: int) -> GiveUp:
        """When each client gives up."""
        impatient = rng.random(count) < self.share
        times = np.maximum(np.round(rng.standard_exponential(count) * self.mean, 9), 1e-9)
        return GiveUp(after_s=np.where(impatient, times, np.inf))
