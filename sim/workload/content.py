"""Naming what prompts hold, as segments; equal pieces are one object, to stay small."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sim.request import Segments
from sim.workload.table import Floats, Ints


@dataclass(frozen=True, eq=False)
class Named:
    """Prompt lengths, i8[n], with what each prompt holds (None: nothing is shared)."""

    prompt_tokens: Ints
    segments: list[Segments | None] | None


class Prefix(Protocol):
    """How the prompts of a synthetic workload share content (the folder `prefixes`)."""

    def share(self, rng: np.random.Generator, prompt_tokens: Ints) -> Named:
        """Prompts named after sharing; their lengths may have changed."""
        ...


class Namer:
    """Makes segments; equal pieces become one object, so that sharing costs little memory."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[Hashable, int], tuple[Hashable, int]] = {}
        self._prompts: dict[tuple[Hashable, int], Segments] = {}

    def prompt(self, name: Hashable, tokens: int) -> Segments:
        """A prompt that equals every other of the same name (and length)."""
        return self._prompts.setdefault((name, tokens), ((("prompt", name), tokens),))

    def prefix(self, group: Hashable, shared_tokens: int, row: int, prompt_tokens: int) -> Segments | None:
        """A prompt whose first tokens are its group's and whose rest is its own."""
        if shared_tokens == 0:
            return None
        shared = self._intern((("group", group), shared_tokens))
        rest = prompt_tokens - shared_tokens
        return (shared, (("own", row), rest)) if rest else (shared,)

    def blocks(self, hashes: Sequence[Hashable], block_size: int, row: int, prompt_tokens: int) -> Segments | None:
        """A prompt made of hashed blocks of one size, the last cut to the prompt's end; None for no hashes.

        There may be fewer blocks than the prompt fills (the rest is its own), never more: (len(hashes) - 1)
        * block_size < prompt_tokens.
        """
        if not hashes:
            return None
        rest = prompt_tokens - len(hashes) * block_size
        intern = self._pieces.setdefault
        whole = [(block, block_size) for block in hashes[:-1]]
        pieces = [intern(piece, piece) for piece in whole]
        pieces.append(self._intern((hashes[-1], block_size + min(rest, 0))))
        if rest > 0:
            pieces.append((("own", row), rest))
        return tuple(pieces)

    def pieces(self, pieces: Sequence[Sequence[Any]], row: int, prompt_tokens: int) -> Segments | None:
        """A prompt that begins with named pieces (name, tokens) and goes on with its own; None for no pieces."""
        if not pieces:
            return None
        named = [self._intern((name, tokens)) for name, tokens in pieces]
        rest = prompt_tokens - sum(tokens for _, tokens in named)
        return (*named, (("own", row), rest)) if rest else tuple(named)

    def _intern(self, piece: tuple[Hashable, int]) -> tuple[Hashable, int]:
        return self._pieces.setdefault(piece, piece)


def cut_right(segments: Segments, tokens: int) -> Segments:
    """The first `tokens` tokens."""
    kept: list[tuple[Hashable, int]] = []
    for name, length in segments:
        if tokens <= 0:
            break
        kept.append((name, min(length, tokens)))
        tokens -= length
    return tuple(kept)


def cut_left(segments: Segments, tokens: int) -> Segments:
    """The last `tokens` tokens; what is left of a piece equals only what was cut at the same place."""
    kept: list[tuple[Hashable, int]] = []
    for name, length in reversed(segments):
        if tokens <= 0:
            break
        kept.append((name, length) if length <= tokens else (("rest", name, length - tokens), tokens))
        tokens -= length
    return tuple(reversed(kept))


def draw_ranks(rng: np.random.Generator, kinds: int, count: int, skew: float) -> Ints:
    """i8[count] of 0 .. kinds - 1, rank k with weight 1 / (k + 1)**skew (0: all alike; 1: Zipf's law)."""
    if skew == 0:
        return rng.integers(kinds, size=count)
    weights: Floats = np.arange(1, kinds + 1, dtype=np.float64) ** -skew
    return rng.choice(kinds, size=count, p=weights / weights.sum())
