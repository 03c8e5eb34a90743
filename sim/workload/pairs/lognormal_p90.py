"""Log-normal prompt and output lengths as papers tell them: median and 90th percentile, too long ones left out."""

import math
from dataclasses import dataclass

import numpy as np

from sim.workload.fields import Tokens
from sim.workload.table import MAX_TOKENS, Floats, Ints

Z90 = 1.2815515655446004
"""The 90th percentile of the standard normal distribution (`statistics.NormalDist().inv_cdf(0.9)`)."""


@dataclass(frozen=True)
class LognormalP90:
    """Independent log-normal lengths, each set by its median and 90th percentile, rounded to whole tokens.

    Pairs whose sum is above `total_max` are drawn again, as data sets leave out what exceeds a context; the medians
    and percentiles are those before that cut.
    """

    prompt_median: Tokens
    """Median of the prompt lengths, in tokens. E.g. `1730`."""
    prompt_p90: Tokens
    """Their 90th percentile. E.g. `5696`."""
    output_median: Tokens
    """Median of the output lengths, in tokens. E.g. `415`."""
    output_p90: Tokens
    """Their 90th percentile. E.g. `834`."""
    total_max: Tokens = MAX_TOKENS
    """Pairs that are longer together are drawn again. E.g. `8192`."""

    def __post_init__(self) -> None:
        for name in ("prompt", "output"):
            median, p90 = getattr(self, f"{name}_median"), getattr(self, f"{name}_p90")
            if p90 < median:
                raise ValueError(f"{name}_p90 ({p90}) must be at least {name}_median ({median})")
        if self.prompt_median + self.output_median > self.total_max:
            raise ValueError(f"total_max ({self.total_max}) must be at least the sum of the two medians")

    def draw_pairs(self, rng: np.random.Generator, count: int) -> tuple[Ints, Ints]:
        """(prompt, output) tokens, i8[count] each."""
        kept = np.zeros((0, 2), dtype=np.int64)
        while len(kept) < count:
            first, second = rng.standard_normal((2, count))
            prompts = _lengths(self.prompt_median, self.prompt_p90, first)
            drawn = np.column_stack([prompts, _lengths(self.output_median, self.output_p90, second)])
            kept = np.concatenate([kept, drawn[drawn.sum(axis=1) <= self.total_max]])
        return kept[:count, 0], kept[:count, 1]


def _lengths(median: int, p90: int, normal: Floats) -> Ints:
    sigma = math.log(p90 / median) / Z90
    lengths: Ints = np.clip(np.rint(median * np.exp(sigma * normal)), 1, MAX_TOKENS).astype(np.int64)
    return lengths
