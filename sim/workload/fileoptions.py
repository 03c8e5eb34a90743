"""What every file of requests shares: which of its rows to take, and what to do with those that do not fit."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from sim.request import Segments
from sim.workload.content import cut_left, cut_right
from sim.workload.fields import Count, Tokens
from sim.workload.table import Bools, Floats, Ints


class Signs(NamedTuple):
    """How a format is known: the kind of file, and names that its header or first object has."""

    kind: Literal["csv", "json"]
    names: frozenset[str]


@dataclass(frozen=True)
class FileOptions:
    """Options of every file of requests, with times or without.

    `long_prompts: cut_right` keeps a prompt's first max_prompt_tokens, and what they share, `cut_left` its last, as
    vLLM's truncate_prompt_tokens does. Without max_prompt_tokens the engine rejects what exceeds its context.
    """

    signs: ClassVar[Signs | None] = None

    path: str
    """The file, plain or .gz, relative to the scenario's folder. E.g. `traces/monday.csv.gz`."""
    offset: Annotated[int, Field(ge=0)] = 0
    """Leave out the first so many requests (of a file of conversations: conversations)."""
    limit: Count | None = None
    """Keep at most so many requests (of a file of conversations: conversations). E.g. `5000`."""
    on_bad_row: Literal["error", "skip"] = "error"
    """Stop with an error that names the row, or skip it and count it."""
    empty_outputs: Literal["bad", "drop", "one"] = "bad"
    """A request whose output has 0 tokens: a bad row, left out and counted, or given one token."""
    max_prompt_tokens: Tokens | None = None
    """Longest prompt, in tokens; `long_prompts` says what a longer one becomes. E.g. `8192`."""
    long_prompts: Literal["drop", "cut_left", "cut_right"] = "drop"
    """Leave prompts that are too long out, or keep their last or their first tokens; all are counted."""

    def too_long(self, prompt_tokens: Floats | Ints) -> Bools:
        """True where a prompt is longer than it may be."""
        if self.max_prompt_tokens is None:
            return np.zeros(len(prompt_tokens), dtype=bool)
        return prompt_tokens > self.max_prompt_tokens


@dataclass
class Fitting:
    """Applies `empty_outputs` and `long_prompts`, and counts what it changed."""

    options: FileOptions
    empty: int = 0
    long: int = 0

    def dropped(self, prompt_tokens: Floats | Ints, output_tokens: Floats | Ints) -> Bools:
        """True where a request is to be left out."""
        drop = np.zeros(len(prompt_tokens), dtype=bool)
        if self.options.empty_outputs == "drop":
            drop |= output_tokens == 0
        if self.options.long_prompts == "drop":
            drop |= self.options.too_long(prompt_tokens)
        return drop

    def count(self, prompt_tokens: Floats | Ints, output_tokens: Floats | Ints) -> None:
        """Count the rows of the slice that are dropped or changed."""
        self.empty += int((output_tokens == 0).sum())
        self.long += int(self.options.too_long(prompt_tokens).sum())

    def cut(self, prompt_tokens: Ints, segments: list[Segments | None]) -> tuple[Ints, list[Segments | None]]:
        """Prompts no longer than they may be, and what they hold."""
        most, long = self.options.max_prompt_tokens, self.options.too_long(prompt_tokens)
        if most is None or not long.any():
            return prompt_tokens, segments
        cut = cut_left if self.options.long_prompts == "cut_left" else cut_right
        for row in np.flatnonzero(long).tolist():
            if (pieces := segments[row]) is not None:
                segments[row] = cut(pieces, most)
        return np.minimum(prompt_tokens, most), segments

    def notes(self) -> Iterator[str]:
        """What is to be told with the result."""
        if self.empty:
            done = "left out" if self.options.empty_outputs == "drop" else "given 1 token"
            yield f"{_requests(self.empty)} with an output of 0 tokens {done} (empty_outputs)"
        if self.long:
            ends = {"drop": "left out", "cut_left": "cut at their beginning", "cut_right": "cut at their end"}
            done = ends[self.options.long_prompts]
            most = self.options.max_prompt_tokens
            yield f"{_requests(self.long)} with prompts of more than {most:,} tokens {done} (long_prompts)"


def _requests(count: int) -> str:
    return f"{count:,} request{'s' * (count != 1)}"
