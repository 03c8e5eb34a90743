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
    """Mean of the prompt lengths, in tokens. E.g. `800`."""
    prompt_p99: Tokens
    """Their 99th percentile. E.g. `4000`."""
    output_mean: Tokens
    """Mean of the output lengths, in tokens. E.g. `200`."""
    output_p99: Tokens
    """Their 99th percentile. E.g. `800`."""
    correlation: Annotated[float, Field(ge=-1, le=1)] = 0.0
    """Of the logarithms of both lengths. E.g. `0.3`."""
    prompt_max: Tokens = MAX_TOKENS
    """Longer prompts are cut to this. E.g. `32768`."""
    output_max: Tokens = MAX_TOKENS
    """Longer outputs are cut to this. E.g. `4096`."""

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
