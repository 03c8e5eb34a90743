"""Options that every trace format with arrival times has."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from sim.choice import Choice
from sim.quantity import Seconds
from sim.workload.fields import Positive, Rate
from sim.workload.fileoptions import FileOptions


@dataclass(frozen=True)
class TraceOptions(FileOptions):
    """Options of every trace format with arrival times, besides those of every file.

    offset and limit count requests that arrive in [start, start + duration). Kept times count from `start`, or from the
    first kept request when there is an offset. The mean rate is (n - 1) / (last - first). speedup and rate_per_s move
    sessions only where turns `wait`.
    """

    start: Seconds = 0.0
    """Leave out what arrives before this time of the trace. E.g. `10min`."""
    duration: Annotated[Seconds, Field(gt=0)] | None = None
    """Keep what arrives within this long after `start`. E.g. `1h`."""
    speedup: Positive = 1.0
    """Divide arrival times by this. E.g. `2.0`."""
    rate_per_s: Rate | None = None
    """Scale arrival times to this mean rate, in requests per second; instead of `speedup`. E.g. `12`."""
    jitter: Literal["grid"] | Seconds | None = None
    """Spread arrivals evenly over so long after their time; `grid`: as long as the grid that they sit on."""
    wait: bool = False
    """Send the later requests of a session after the answer before, instead of at their recorded time."""
    think_time: Annotated[Any, Choice("sim.workload.times")] | None = None
    """With `wait`, the pause before the next request of a session where the file tells none."""

    def __post_init__(self) -> None:
        if self.rate_per_s is not None and self.speedup != 1.0:
            raise ValueError("speedup and rate_per_s both scale the arrival times; give one of them")
        if self.think_time is not None and not self.wait:
            raise ValueError("think_time is drawn where turns wait for the answer before, so it needs wait: true")
