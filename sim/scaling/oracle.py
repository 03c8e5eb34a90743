"""What could be had if the traffic were known beforehand: the lower bound of GPU-hours."""

from dataclasses import dataclass
from math import ceil
from typing import Annotated

from pydantic import Field

from sim.errors import ScenarioError
from sim.quantity import Seconds
from sim.scaling import Decide, Knowledge, Seen


@dataclass(frozen=True)
class Oracle:
    """The least replicas for which no `window` brings more than they carry.

    One carries `requests_per_s`, or `output_tokens_per_s` if answers differ much in length: give what it does within
    the SLO. Replicas are there when their window begins, because they start a cold start earlier, and go when it ends.
    The sum of needed() * window is a lower bound of the GPU-hours of any rule that never asks more of a replica than
    that; run it to see what its own cold starts and drains add, and whether the SLO holds.
    """

    requests_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """What one replica carries within the SLO, in requests. E.g. `8`."""
    output_tokens_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """The same in output tokens. E.g. `2000`."""
    window: Annotated[Seconds, Field(gt=0)] = 60.0
    """Replicas are chosen for stretches of this length."""

    def __post_init__(self) -> None:
        if (self.requests_per_s is None) == (self.output_tokens_per_s is None):
            raise ValueError("give requests_per_s: or output_tokens_per_s:, what one replica carries within the SLO")

    def needed(self, known: Knowledge, number: int) -> int:
        """Replicas that the window of that number needs."""
        coming = known.arrivals_between(number * self.window, (number + 1) * self.window)
        if self.output_tokens_per_s is not None:
            return ceil(coming.output_tokens / (self.output_tokens_per_s * self.window))
        return ceil(coming.requests / ((self.requests_per_s or 1.0) * self.window))

    def start(self, known: Knowledge) -> Decide:
        """A decider that looks ahead for as long as a replica takes to come, and until the next decision."""
        if known.interval_s > self.window:
            raise ScenarioError("an oracle must decide at least once in its window: lower autoscaling.interval")

        def decide(seen: Seen) -> int:
            first = int(seen.time_s // self.window)
            last = int((seen.time_s + known.lead_s + known.interval_s) // self.window)
            return max(self.needed(known, number) for number in range(first, last + 1))

        return decide
