"""Bursts: a Poisson process that switches between a high rate and a low one."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from sim.errors import ScenarioError
from sim.quantity import Seconds
from sim.workload.fields import Rate, RateOrZero
from sim.workload.points import MAX_REQUESTS, RateCurve, poisson_areas
from sim.workload.table import Floats, rounded


@dataclass(frozen=True)
class OnOff:
    """Poisson arrivals at `burst_rate_per_s` for `burst_s`, then at `idle_rate_per_s` for `idle_s`.

    Phases alternate, a burst first; their durations are exponential with these means (a
    Markov-modulated Poisson process) or `fixed`. Phases have their own random stream, so rates do not
    change them. The long-run rate is the mean of the two rates weighted by their durations.
    """

    burst_rate_per_s: Rate
    """Requests per second in a burst. E.g. `50`."""
    burst_s: Annotated[Seconds, Field(gt=0)]
    """How long a burst lasts. E.g. `10s`."""
    idle_s: Annotated[Seconds, Field(gt=0)]
    """How long the time between bursts lasts. E.g. `1min`."""
    idle_rate_per_s: RateOrZero = 0.0
    """Requests per second between bursts. E.g. `2`."""
    phases: Literal["exponential", "fixed"] = "exponential"
    """Whether these times are means of exponential ones, or fixed."""

    def curve(self, rng: np.random.Generator, until_s: float, until_area: float) -> RateCurve:
        """The rate over time, with enough phases to reach the time or the expected arrivals."""
        pairs = 64
        means = np.array([self.burst_s, self.idle_s])
        drawn = np.empty((0, 2))
        while True:
            more = rng.standard_exponential((pairs, 2)) if self.phases == "exponential" else np.ones((pairs, 2))
            drawn = np.concatenate([drawn, more * means])
            ends = np.cumsum(drawn.ravel())
            areas = drawn @ np.array([self.burst_rate_per_s, self.idle_rate_per_s])
            if ends[-1] > until_s or areas.sum() > until_area:
                starts = np.concatenate([[0.0], ends])
                rates = np.tile([self.burst_rate_per_s, self.idle_rate_per_s], len(drawn) + 1)[: len(starts)]
                return RateCurve.steps(starts, rates)
            pairs = len(drawn)
            if pairs > MAX_REQUESTS:
                raise ScenarioError("arrivals: on_off would need over 1e8 phases; lengthen burst_s and idle_s")

    def times(self, rng: np.random.Generator, count: int | None = None, duration_s: float | None = None) -> Floats:
        """Sorted arrival times in seconds."""
        (phase_rng,) = rng.spawn(1)
        if duration_s is None:
            areas = poisson_areas(rng, count, None)
            curve = self.curve(phase_rng, np.inf, areas[-1])
        else:
            curve = self.curve(phase_rng, duration_s, np.inf)
            areas = poisson_areas(rng, count, curve.area(duration_s))
        return rounded(curve.invert(areas))
