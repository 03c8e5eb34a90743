"""Log-normal lengths: many short, a few very long, as chat traffic has."""

import math
from dataclasses import dataclass

import numpy as np

from sim.workload.fields import Tokens
from sim.workload.table import MAX_TOKENS, Floats, Ints

Z99 = 2.3263478740408408
"""The 99th percentile of the standard normal distribution (`statistics.NormalDist().inv_cdf(0.99)`)."""


@dataclass(frozen=True)
class Lognormal:
    """Log-normal with the given mean and 99th percentile, rounded to whole tokens.

    Lengths outside [min, max] are set to the bound (so tight bounds move the mean and the percentile).
    """

    mean: Tokens
    """Mean length, in tokens. E.g. `800`."""
    p99: Tokens
    """99th percentile, in tokens. E.g. `4000`."""
    min: Tokens = 1
    """Shorter ones are raised to this."""
    max: Tokens = MAX_TOKENS
    """Longer ones are cut to this. E.g. `32768`."""

    def __post_init__(self) -> None:
        solve(self.mean, self.p99)
        if self.max < self.min:
            raise ValueError(f"max ({self.max}) must be at least min ({self.min})")

    def draw(self, rng: np.random.Generator, count: int) -> Ints:
        """i8[count] of tokens."""
        return self.from_normal(rng.standard_normal(count))

    def from_normal(self, normal: Floats) -> Ints:
        """Lengths at the given standard normal deviates."""
        mu, sigma = solve(self.mean, self.p99)
        lengths: Ints = np.clip(np.rint(np.exp(mu + sigma * normal)), self.min, self.max).astype(np.int64)
        return lengths


def solve(mean: float, p99: float) -> tuple[float, float]:
    """The (mu, sigma) of the log-normal with this mean and 99th percentile.

    From mean = exp(mu + sigma**2 / 2) and p99 = exp(mu + z sigma): sigma**2 / 2 - z sigma + log(p99 / mean)
    = 0, of which the smaller root is taken (the larger is at least z, absurdly wide). Raises ValueError
    outside 1 <= p99 / mean <= exp(z**2 / 2), about 14.97, where there is no such root.
    """
    under_root = Z99**2 - 2 * math.log(p99 / mean)
    if p99 < mean or under_root < 0:
        raise ValueError(
            f"no log-normal has mean {mean:g} and p99 {p99:g}; "
            f"p99 must be between the mean and {math.exp(Z99**2 / 2):.2f} times the mean"
        )
    sigma = Z99 - math.sqrt(under_root)
    return math.log(mean) - sigma**2 / 2, sigma
