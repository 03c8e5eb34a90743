"""Named streams of random numbers: one seed, one stream for each purpose."""

import numpy as np


def stream(seed: int, name: str) -> np.random.Generator:
    """A generator that depends on the seed and the name alone.

    Two variants with one seed therefore see the same requests, and a new consumer, which brings a new
    name, shifts no other. The whole name is the spawn key, so two names never share a stream.
    Raises ValueError for a negative seed (from numpy).
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(name.encode())))
