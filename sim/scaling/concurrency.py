"""Requests in flight, per replica, as Knative and KServe count."""

from collections import deque
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sim.quantity import Seconds
from sim.scaling import Decide, Knowledge, Seen
from sim.scaling._proportional import proportional


@dataclass(frozen=True)
class Concurrency:
    """`target` requests in flight for each replica, waiting or running, on average over the last `window`.

    Knative's stable window is 60 s, over which it averages samples. It knows no tolerance. Its panic mode, which looks
    at a tenth of the window when twice as much is needed, is not modelled: a shorter window and a longer
    scale_down_window come near it. Source: Knative Serving, "Configuring concurrency" and "autoscaling concepts".
    """

    target: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Requests in flight wanted for each replica. E.g. `32`."""
    window: Seconds = 60.0
    """What is seen is the mean over the last so long."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Nothing changes while the ratio to the target is within 1 ± this."""

    def start(self, known: Knowledge) -> Decide:
        """A decider that remembers the window."""
        samples: deque[Seen] = deque()

        def decide(seen: Seen) -> int | None:
            samples.append(seen)
            while samples[0].time_s < seen.time_s - self.window:
                samples.popleft()
            mean = sum(sample.in_flight for sample in samples) / len(samples)
            return proportional(seen, mean, self.target, self.tolerance)

        return decide
