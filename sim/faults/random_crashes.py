"""Replicas crash at random."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
from pydantic import Field

from sim.faults import Control
from sim.faults._target import Target
from sim.quantity import Seconds


@dataclass(frozen=True, kw_only=True)
class RandomCrashes(Target):
    """Each replica serves for an exponential time of mean `mtbf`, is repaired for one of mean `mttr`, and starts cold.

    A replica's times are its own stream, whatever happens to the others. `count` has no meaning here.
    """

    mtbf: Annotated[Seconds, Field(gt=0)]
    """Mean time that a replica serves before it crashes. E.g. `24h`."""
    mttr: Seconds
    """Mean time until it starts again. E.g. `5min`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count is not None:
            raise ValueError("leave out count: name replicas, or a pool, or nothing for all")

    def start(self, control: Control) -> None:
        """One event for each replica that serves."""

        def crash(replica: int, repair_s: float) -> None:
            if not control.is_over:
                control.crash(replica, repair_s)

        streams: dict[int, np.random.Generator] = {}

        def ready(replica: int) -> None:
            if self.means(control, replica) and not control.is_over:
                rng = streams.setdefault(replica, control.rng(f"replica {replica}"))
                works_s, repair_s = rng.exponential((self.mtbf, self.mttr)).tolist()
                control.while_serving(replica, works_s, partial(crash, replica, repair_s))

        control.whenever_ready(ready)
