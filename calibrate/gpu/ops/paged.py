"""A paged KV cache of random keys and values, and attention over it in plain torch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from calibrate.gpu.bench import BLOCK_SIZE, Bench

_KNOWS_GROUPS = "enable_gqa" in (F.scaled_dot_product_attention.__doc__ or "")
"""torch 2.5 and newer share key heads within a group; before, they must be repeated."""


@dataclass(frozen=True)
class Tables:
    """Which blocks hold which sequence's tokens: lengths (sequences,), blocks (sequences, most blocks)."""

    lengths: np.ndarray
    blocks: np.ndarray

    @property
    def count(self) -> int:
        """Blocks in use."""
        return int(np.sum(-(-self.lengths // BLOCK_SIZE)))


def tables(lengths: np.ndarray, rng: np.random.Generator) -> Tables:
    """Block tables of sequences whose blocks lie all over the cache, as they do in an engine that has run."""
    needed = -(-lengths // BLOCK_SIZE)
    order = rng.permutation(int(needed.sum()))
    blocks = np.zeros((len(lengths), int(needed.max())), dtype=np.int64)
    blocks[np.arange(blocks.shape[1])[None, :] < needed[:, None]] = order
    return Tables(lengths, blocks)


def mixed_lengths(batch: int, mean: int, rng: np.random.Generator) -> np.ndarray:
    """Context lengths from a quarter to seven quarters of the mean, evenly, in random order; their sum
    exact."""
    places = (np.arange(batch) + 0.5) / batch
    lengths = np.maximum(np.floor(mean * (0.25 + 1.5 * places)), 1).astype(np.int64)
    while (rest := batch * mean - int(lengths.sum())) != 0:  # what rounding has left over
        able = np.flatnonzero(lengths > 1) if rest < 0 else np.arange(batch)
        lengths[able[: abs(rest)]] += np.sign(rest)
    return rng.permutation(lengths)


def cache(bench: Bench, dtype: str, blocks: int, kv_heads: int, head_dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of that many blocks."""
    shape = (blocks, BLOCK_SIZE, kv_heads, head_dim)
    return bench.random(dtype, *shape), bench.random(dtype, *shape)


def gathered(paged: torch.Tensor, blocks: torch.Tensor) -> torch.Tensor:
    """The cache's rows in each sequence's order: (sequences, tokens of the longest, kv_heads, head_dim)."""
    raw = paged.view(torch.uint8) if paged.dtype == torch.float8_e4m3fn else paged
    found = raw[blocks]
    return found.view(paged.dtype).view(blocks.shape[0], -1, *paged.shape[2:])


def sdpa(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, causal: bool = False
) -> torch.Tensor:
    """torch's own attention, (batch, tokens, heads, head_dim) each."""
    group = q.shape[2] // k.shape[2]
    q, k, v = q.transpose(1, 2), k.transpose(1, 2).to(q.dtype), v.transpose(1, 2).to(q.dtype)
    options: dict[str, Any] = {"attn_mask": mask, "is_causal": causal}
    if group > 1 and _KNOWS_GROUPS:
        options["enable_gqa"] = True
    elif group > 1:
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    return F.scaled_dot_product_attention(q, k, v, **options).transpose(1, 2)


def gathered_decode(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, blocks: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """Decode attention without a paged kernel: copy every sequence's rows, then attend under a mask."""
    k, v = gathered(keys, blocks), gathered(values, blocks)
    mask = torch.arange(k.shape[1], device=q.device)[None, None, None, :] < lengths[:, None, None, None]
    return sdpa(q.unsqueeze(1), k, v, mask).squeeze(1)


def attend_one(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, blocks: torch.Tensor, length: int
) -> torch.Tensor:
    """The last len(q) tokens of one sequence over all of its tokens, causally: copy its rows, then attend."""
    new = q.shape[0]
    k, v = (gathered(cached, blocks[None])[:, :length] for cached in (keys, values))
    mask = chunk_mask(new, length - new, q.device) if new > 1 else None
    return sdpa(q[None], k, v, mask)[0]


def looped_decode(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, blocks: torch.Tensor, lengths: list[int]
) -> list[torch.Tensor]:
    """Decode attention one sequence after the other: nothing is padded to the longest."""
    return [
        attend_one(q[i : i + 1], keys, values, blocks[i, : -(-length // BLOCK_SIZE)], length)
        for i, length in enumerate(lengths)
    ]


def chunk_mask(new: int, context: int, device: torch.device) -> torch.Tensor:
    """Which keys each query of a chunk may see: its context, and the chunk up to itself."""
    return torch.ones(new, context + new, dtype=torch.bool, device=device).tril(context)


def reference(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Attention spelled out in float32; shapes as in `sdpa`."""
    group = q.shape[2] // k.shape[2]
    keys = k.float().repeat_interleave(group, 2)
    values = v.float().repeat_interleave(group, 2)
    scores = torch.einsum("bmhd,bnhd->bhmn", q.float(), keys) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
    return torch.einsum("bhmn,bnhd->bmhd", weights, values)
