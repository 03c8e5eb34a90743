"""Correlated log-normal prompt and output lengths."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from sim.workload.fields import Tokens
from sim.workload.lengths.lognormal import Lognormal as Length
from sim.workload.table import MAX_TOKENS, Ints


@dataclass(frozen=True)
class Lognormal:
    """Two log-normal lengths whose logarithms have the given correlation (a Gaussian copula).

    Each is set by its mean and 99th percentile; lengths above a `max` are set to it.
    """

    prompt_mean: Tokens
    prompt_p99: Tokens
    output_mean: Tokens
    output_p99: Tokens
    correlation: Annotated[float, Field(ge=-1, le=1)] = 0.0
    prompt_max: Tokens = MAX_TOKENS
    output_max: Tokens = MAX_TOKENS

    def __post_init__(self) -> None:
        self.halves()

    def halves(self) -> tuple[Length, Length]:
        """The distributions of the prompt and of the output alone. Raises ValueError where there is none."""
        prompt = Length(self.prompt_mean, self.prompt_p99, max=self.prompt_max)
        return prompt, Length(self.output_mean, self.output_p99, max=self.output_max)

    def draw_pairs(self, rng: np.random.Generator, count: int) -> tuple[Ints, Ints]:
        """(prompt, output) tokens, i8[count] each."""
        prompt, output = self.halves()
        first, other = rng.standard_normal((count, 2)).T
        second = self.correlation * first + math.sqrt(1 - self.correlation**2) * other
        return prompt.from_normal(first), output.from_normal(second)
