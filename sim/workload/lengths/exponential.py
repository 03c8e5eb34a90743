"""Exponential lengths: each next token is the last with the same chance; the widest spread that a mean alone gives."""

from dataclasses import dataclass

import numpy as np

from sim.workload.fields import Tokens
from sim.workload.table import MAX_TOKENS, Ints


@dataclass(frozen=True)
class Exponential:
    """Exponential with the given mean, rounded to whole tokens, at least 1; lengths above `max` are drawn again.

    So `mean` is that of the distribution before the cut, and a `max` not far above it makes the lengths shorter.
    """

    mean: Tokens
    """Mean length, in tokens. E.g. `200`."""
    max: Tokens = MAX_TOKENS
    """Longer ones are cut to this. E.g. `4096`."""

    def __post_init__(self) -> None:
        if self.max < self.mean / 20:
            raise ValueError(f"max ({self.max}) leaves nearly nothing of an exponential with mean {self.mean}")

    def draw(self, rng: np.random.Generator, count: int) -> Ints:
        """i8[count] of tokens."""
        kept = np.zeros(0, dtype=np.int64)
        while len(kept) < count:
            drawn = np.rint(rng.exponential(self.mean, count)).astype(np.int64)
            kept = np.concatenate([kept, drawn[drawn <= self.max]])
        return np.maximum(kept[:count], 1)
