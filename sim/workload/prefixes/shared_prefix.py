"""Prompts that begin alike: a few system prompts in front of everyone's own text."""

from dataclasses import dataclass

import numpy as np

from sim.workload.content import Named, Namer, draw_ranks
from sim.workload.fields import Count, NonNegative, Tokens
from sim.workload.table import Ints


@dataclass(frozen=True)
class SharedPrefix:
    """Every request draws one of `groups` prefixes of `shared_tokens` tokens, put before its own prompt.

    The prompt is then shared + own tokens, as with `--random-prefix-len` of `vllm bench serve`. Groups are
    equally likely, or the k-th has weight 1 / k**skew.
    """

    groups: Count
    """How many distinct prefixes there are. E.g. `10`."""
    shared_tokens: Tokens
    """How long each prefix is. E.g. `1024`."""
    skew: NonNegative = 0.0
    """The k-th prefix has the weight k ** -skew; 0: all alike. E.g. `1.0`."""

    def share(self, rng: np.random.Generator, prompt_tokens: Ints) -> Named:
        """Prompts longer by `shared_tokens`, with their segments."""
        groups = draw_ranks(rng, self.groups, len(prompt_tokens), self.skew).tolist()
        prompts = prompt_tokens + self.shared_tokens
        namer = Namer()
        pairs = zip(groups, prompts.tolist(), strict=True)
        segments = [namer.prefix(g, self.shared_tokens, row, total) for row, (g, total) in enumerate(pairs)]
        return Named(prompts, segments)
