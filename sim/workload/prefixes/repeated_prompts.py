"""A few prompts asked again and again."""

from dataclasses import dataclass

import numpy as np

from sim.workload.content import Named, Namer, draw_ranks
from sim.workload.fields import Count, NonNegative
from sim.workload.table import Ints


@dataclass(frozen=True)
class RepeatedPrompts:
    """Every request asks one of `prompts` distinct prompts, equal from the first token to the last.

    Their lengths are the first `prompts` that the workload drew. Prompts are equally likely, or the k-th
    has weight 1 / k**skew.
    """

    prompts: Count
    """How many distinct prompts there are. E.g. `1000`."""
    skew: NonNegative = 0.0
    """The k-th prompt has the weight k ** -skew; 0: all alike. E.g. `1.0`."""

    def share(self, rng: np.random.Generator, prompt_tokens: Ints) -> Named:
        """Prompts replaced by those of the pool, with their segments."""
        kinds = min(self.prompts, len(prompt_tokens))
        namer = Namer()
        pool = [namer.prompt(i, tokens) for i, tokens in enumerate(prompt_tokens[:kinds].tolist())]
        asked = draw_ranks(rng, kinds, len(prompt_tokens), self.skew)
        return Named(prompt_tokens[:kinds][asked], [pool[i] for i in asked.tolist()])
