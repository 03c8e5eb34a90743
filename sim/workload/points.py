"""Turning gaps and rates into arrival times: renewal processes, and rates that change with time."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from sim.errors import ScenarioError
from sim.workload.table import Floats

MAX_REQUESTS = 100_000_000
"""More requests than this are taken for a mistake in a rate or a duration."""


@runtime_checkable
class OpenLoop(Protocol):
    """Arrivals that do not wait for answers."""

    def times(self, rng: np.random.Generator, count: int | None = None, duration_s: float | None = None) -> Floats:
        """Sorted arrival times in seconds, on the 1e-9 grid: the first `count`, those in [0, duration_s)."""
        ...


@runtime_checkable
class UserLoop(Protocol):
    """Users who send the next request some time after the previous answer."""

    @property
    def users(self) -> int: ...

    def think_times(self, rng: np.random.Generator, count: int) -> Floats:
        """f8[count]: seconds between the previous answer and each request."""
        ...


def renewal(draw_gaps: Callable[[int], Floats], count: int | None, end: float | None, mean_gap: float) -> Floats:
    """Running sums of drawn gaps: the first `count` of them, those below `end`, or whichever ends first.

    `draw_gaps(n)` gives the next n gaps; `mean_gap` only sizes the chunks. The result does not depend on
    the chunks: a longer run begins with the same times. Raises ScenarioError where neither limit is given,
    or more than MAX_REQUESTS would come.
    """
    if count is None and end is None:
        raise ScenarioError("arrivals without an end; give requests: (a count) or duration:")
    expected = math.inf if end is None else end / mean_gap
    wanted = min(math.inf if count is None else count, expected + 5 * math.sqrt(expected) + 16)
    if wanted > MAX_REQUESTS:
        raise ScenarioError(f"the workload asks for about {wanted:.3g} requests; the most is {MAX_REQUESTS:.0e}")
    gaps = draw_gaps(int(wanted))
    times = np.cumsum(gaps)
    while end is not None and (count is None or len(gaps) < count) and times[-1] < end:
        gaps = np.concatenate([gaps, draw_gaps(len(gaps))])
        times = np.cumsum(gaps)  # from the start again, so that the sums do not depend on the chunks
        if len(gaps) > 2 * MAX_REQUESTS:
            raise ScenarioError(f"more than {MAX_REQUESTS:.0e} requests arrive; lower the rate or the duration")
    times = times[:count]
    return times if end is None else times[times < end]


@dataclass(frozen=True, eq=False)
class RateCurve:
    """A rate that is linear between knots, f8[k] each, and stays at its last value.

    `starts_s[0]` is 0; between knots i and i + 1 the rate goes from `rates[i]` by `slopes[i]` per second.
    """

    starts_s: Floats
    rates: Floats
    slopes: Floats

    @classmethod
    def steps(cls, starts_s: Floats, rates: Floats) -> "RateCurve":
        """The rate jumps to rates[i] at starts_s[i]."""
        return cls(starts_s, rates, np.zeros_like(rates))

    @classmethod
    def lines(cls, starts_s: Floats, rates: Floats) -> "RateCurve":
        """The rate is rates[i] at starts_s[i] and a straight line between."""
        slopes = np.zeros_like(rates)
        slopes[:-1] = np.diff(rates) / np.diff(starts_s)
        return cls(starts_s, rates, slopes)

    def _knot_areas(self) -> Floats:
        width = np.diff(self.starts_s)
        pieces = self.rates[:-1] * width + self.slopes[:-1] * width**2 / 2
        return np.concatenate([[0.0], np.cumsum(pieces)])

    def area(self, until_s: float) -> float:
        """Expected number of arrivals in [0, until_s]."""
        piece = int(np.searchsorted(self.starts_s, until_s, side="right")) - 1
        into = until_s - self.starts_s[piece]
        return float(self._knot_areas()[piece] + self.rates[piece] * into + self.slopes[piece] * into**2 / 2)

    def invert(self, areas: Floats) -> Floats:
        """Times by which the given expected numbers have arrived; infinite for those that never do.

        Solves rate * x + slope * x**2 / 2 = area inside each piece, in the form that does not cancel.
        """
        knots = self._knot_areas()
        piece = np.maximum(np.searchsorted(knots, areas, side="left") - 1, 0)
        rest, rate, slope = areas - knots[piece], self.rates[piece], self.slopes[piece]
        root = np.sqrt(np.maximum(rate**2 + 2 * slope * rest, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            into = np.where(rest > 0, 2 * rest / (rate + root), 0.0)
        times: Floats = self.starts_s[piece] + into
        return times


def poisson_areas(rng: np.random.Generator, count: int | None, end: float | None) -> Floats:
    """Arrivals of the Poisson process of rate 1, to be mapped through the inverse of an integrated rate."""
    return renewal(rng.standard_exponential, count, end, 1.0)
