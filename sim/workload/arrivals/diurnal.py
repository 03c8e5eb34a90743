"""A Poisson process whose rate goes up and down like a day."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from sim.quantity import Seconds
from sim.workload.fields import Rate
from sim.workload.points import poisson_areas
from sim.workload.table import Floats, rounded

_HALVINGS = 64  # a day / 2**64 is far below the 1e-9 s that times are rounded to


@dataclass(frozen=True)
class Diurnal:
    """Poisson arrivals at rate mean_rate_per_s * (1 + amplitude * sin(2 pi (t + phase_s) / period_s)).

    With phase 0 the run starts at the mean, rising; the peak is a quarter of a period later. Sampled by
    inverting the integrated rate (bisection), so the same seed gives the same points at any amplitude.
    """

    mean_rate_per_s: Rate
    """Requests per second in the mean of a period. E.g. `12`."""
    amplitude: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Of the swing, as a share of the mean."""
    period_s: Annotated[Seconds, Field(gt=0)] = 86400.0
    """From peak to peak. E.g. `24h`."""
    phase_s: Seconds = 0.0
    """How far into the period the run starts. E.g. `6h`."""

    def area(self, until_s: Floats) -> Floats:
        """Expected arrivals in [0, until_s], divided by the mean rate (so in seconds)."""
        turn = 2 * np.pi / self.period_s
        wave = np.cos(turn * self.phase_s) - np.cos(turn * (until_s + self.phase_s))
        area: Floats = until_s + self.amplitude / turn * wave
        return area

    def times(self, rng: np.random.Generator, count: int | None = None, duration_s: float | None = None) -> Floats:
        """Sorted arrival times in seconds."""
        end = None
        if duration_s is not None:
            end = float(self.area(np.array([duration_s]))[0]) * self.mean_rate_per_s
        wanted = poisson_areas(rng, count, end) / self.mean_rate_per_s
        sway = self.amplitude * self.period_s / np.pi  # the integrated wave stays within this of a line
        low, high = np.maximum(wanted - sway, 0.0), wanted + sway
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            early = self.area(middle) < wanted
            low, high = np.where(early, middle, low), np.where(early, high, middle)
        return rounded(np.maximum.accumulate(high))
