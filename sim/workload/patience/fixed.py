"""Clients that all wait for the same time."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from sim.quantity import Seconds
from sim.workload.fields import Share
from sim.workload.giveup import GiveUp


@dataclass(frozen=True)
class Fixed:
    """A `share` of the requests is cancelled `after` that time, unless the whole answer is there."""

    after: Annotated[Seconds, Field(gt=0)]
    """Time until the client gives up. E.g. `30s`."""
    share: Share = 1.0
    """Part of the requests that may be cancelled."""

    def draw(self, rng: np.random.Generator, count: int) -> GiveUp:
        """When each client gives up."""
        return GiveUp(after_s=np.where(rng.random(count) < self.share, self.after, np.inf))
