"""Prompt and output lengths drawn together from the rows of a file."""

from dataclasses import dataclass

import numpy as np

from sim.workload.lengthfile import read_tokens
from sim.workload.table import Ints


@dataclass(frozen=True)
class Empirical:
    """Whole rows drawn evenly, with replacement, from a CSV or JSONL file (.gz too), so that lengths keep
    their correlation. `path` is relative to the scenario's folder; an Azure trace has the columns
    ContextTokens and GeneratedTokens.
    """

    path: str
    """A CSV or JSON lines file, plain or .gz. E.g. `lengths.csv`."""
    prompt_column: str = "prompt_tokens"
    """Its column of prompt lengths."""
    output_column: str = "output_tokens"
    """Its column of output lengths."""

    def draw_pairs(self, rng: np.random.Generator, count: int) -> tuple[Ints, Ints]:
        """(prompt, output) tokens, i8[count] each. Raises TraceError naming the row that is no length."""
        prompts, outputs = read_tokens(self.path, [self.prompt_column, self.output_column])
        rows = rng.integers(len(prompts), size=count)
        return prompts[rows], outputs[rows]
