"""Lengths drawn from those in a file."""

from dataclasses import dataclass

import numpy as np

from sim.workload.lengthfile import read_tokens
from sim.workload.table import Ints


@dataclass(frozen=True)
class Empirical:
    """Lengths drawn evenly, with replacement, from one column of a CSV or JSONL file (.gz too).

    `path` is relative to the scenario's folder. For prompts and outputs that belong together use
    `lengths: {empirical: {path: ...}}`, which draws pairs.
    """

    path: str
    """A CSV or JSON lines file, plain or .gz. E.g. `lengths.csv`."""
    column: str
    """Its column of lengths. E.g. `prompt_tokens`."""

    def draw(self, rng: np.random.Generator, count: int) -> Ints:
        """i8[count] of tokens. Raises TraceError naming the row of the file that is no length."""
        (known,) = read_tokens(self.path, [self.column])
        return known[rng.integers(len(known), size=count)]
