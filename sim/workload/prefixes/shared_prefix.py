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
    equally likely, or the k-th has weight 1 / k**skew. With `questions` each group has only so many own texts: all
    prompts are asked one after the other in a shuffled order, again and again, as inference-perf's shared_prefix does;
    their lengths are the first that the workload drew.
    """

    groups: Count
    """How many distinct prefixes there are. E.g. `10`."""
    shared_tokens: Tokens
    """How long each prefix is. E.g. `1024`."""
    skew: NonNegative = 0.0
    """The k-th prefix has the weight k ** -skew; 0: all alike. E.g. `1.0`."""
    questions: Count | None = None
    """How many own texts each group has, asked in turn; default: every request brings a new one. E.g. `5`."""

    def __post_init__(self) -> None:
        if self.questions is not None and self.skew:
            raise ValueError("shared_prefix: questions are asked in turn, so leave out skew, or questions")

    def share(self, rng: np.random.Generator, prompt_tokens: Ints) -> Named:
        """Prompts longer by `shared_tokens`, with their segments."""
        rows = np.arange(len(prompt_tokens))
        if self.questions is None:
            groups = draw_ranks(rng, self.groups, len(prompt_tokens), self.skew)
        else:
            kinds = self.groups * self.questions
            rows = np.resize(rng.permutation(kinds), len(prompt_tokens))  # which of them each request asks
            groups = rows % self.groups
            prompt_tokens = np.resize(prompt_tokens, kinds)[rows]
        prompts = prompt_tokens + self.shared_tokens
        namer = Namer()
        named = zip(groups.tolist(), rows.tolist(), prompts.tolist(), strict=True)
        segments = [namer.prefix(group, self.shared_tokens, row, total) for group, row, total in named]
        return Named(prompts, segments)
