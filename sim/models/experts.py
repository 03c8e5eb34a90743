"""Experts spread over GPUs: how many tokens the busiest GPU gets, which all others wait for.

In every layer each token is sent to `experts_per_token` different experts, drawn without replacement with the
popularities of that layer. The busiest GPU's share is the mean over layers and batches of such draws, from a stream
of random numbers of its own; step times stay a function of the batch's shape alone.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.errors import ModelError
from sim.expertload import ExpertLoad
from sim.models.model import Model
from sim.streams import stream

_TOKENS = 4096
"""Tokens drawn per layer; larger batches are as uneven as one of these."""

_LAYERS = 16
"""Layers drawn at most."""


@dataclass(frozen=True)
class ExpertShards:
    """Whole experts on each of `ranks` GPUs, in the order of their numbers, as vLLM places them.

    `apart` says that tokens come from elsewhere too, so that the experts' work is no part of a rank's own operations.
    """

    ranks: int
    load: ExpertLoad
    seed: int = 0
    apart: bool = False

    def check(self, model: Model) -> None:
        """Raise ModelError unless every GPU gets equally many of the model's experts."""
        if not model.moe_layers:
            raise ModelError(f"{model.name} has no experts to spread; leave enable_expert_parallel out")
        if model.experts % self.ranks:
            raise ModelError(f"{model.name}: its {model.experts} experts do not divide among {self.ranks} GPUs")

    def busiest_picks(self, model: Model, tokens: Any) -> NDArray[np.int64]:
        """Picks that fall on the experts of the busiest GPU, for batches of so many tokens; at least 1."""
        sizes, picks = _busiest(self, model.experts, model.experts_per_token, min(model.moe_layers, _LAYERS))
        counts = np.asarray(tokens, dtype=np.float64)
        i = np.clip(np.searchsorted(sizes, counts, side="right") - 1, 0, len(sizes) - 2)
        share = (counts - sizes[i]) / (sizes[i + 1] - sizes[i])
        mean = picks[i] * (1.0 - share) + picks[i + 1] * share  # beyond the last size: the same slope
        found: NDArray[np.int64] = np.maximum(np.rint(mean), 1.0).astype(np.int64)
        return found


@lru_cache(maxsize=32)
def _busiest(shards: ExpertShards, experts: int, picks: int, layers: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """(batch sizes from 0 up, mean picks of the busiest GPU at each)."""
    rng = stream(shards.seed, "expert load")
    sizes = [1 << power for power in range(_TOKENS.bit_length())]
    totals = np.zeros(len(sizes))
    for _ in range(layers):
        weights = shards.load.popularity(experts, rng)
        # The `picks` smallest of exponential times with these rates are a draw without replacement.
        times = rng.standard_exponential((_TOKENS, experts)) / weights
        chosen = (
            np.argpartition(times, picks - 1, axis=1)[:, :picks]
            if picks < experts
            else np.tile(np.arange(experts), (_TOKENS, 1))
        )
        ranks = chosen // (experts // shards.ranks)
        counts = np.zeros((_TOKENS, shards.ranks))
        np.add.at(counts, (np.repeat(np.arange(_TOKENS), picks), ranks.ravel()), 1.0)
        for index, size in enumerate(sizes):
            batches = counts.reshape(_TOKENS // size, size, shards.ranks).sum(axis=1)
            totals[index] += batches.max(axis=1).mean()
    return np.array([0.0, *sizes]), np.array([0.0, *(totals / layers)])
