"""The operations between the matrix products: what the model asks of a device, and the CPU's answer.

They are the implementations that calibration measures. x, residual (rows, hidden); qkv (rows, query heads +
key heads + value heads, head_dim); caches (blocks, block_size, KV heads, head_dim); positions, slots (rows,)
int64, a slot being block x block_size + place in the block; tables (requests, most blocks of one) and lengths
(requests,) int32, the new tokens included.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from calibrate.gpu.ops import paged

EPSILON = 1e-6


class Pages(NamedTuple):
    """The keys and values of one layer, and the requests of a step in it.

    tables and lengths: of every decode, then of every chunk. starts: int32, the first row of every chunk,
    counted from the first chunk's, and the end.
    """

    keys: Tensor
    values: Tensor
    tables: Tensor
    lengths: Tensor
    starts: Tensor


class Kernels(Protocol):
    """What the model asks of a device; functions without a result work in place or into `out`."""

    def add_norm(self, x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        """residual += x; x = RMSNorm(residual), or LayerNorm where there is a bias."""

    def head_norm(self, qkv: Tensor, q_weight: Tensor, k_weight: Tensor, heads: int, kv_heads: int) -> None:
        """RMSNorm of every query head and key head."""

    def rotary(self, qkv: Tensor, cosines: Tensor, sines: Tensor, positions: Tensor, turned: int) -> None:
        """Turn the first `turned` heads by their position; cosines, sines (positions, head_dim / 2)."""

    def write_kv(self, keys: Tensor, values: Tensor, qkv: Tensor, slots: Tensor, heads: int) -> None:
        """Put the key and value heads of every row into its slot."""

    def activate(self, x: Tensor, gated: bool) -> Tensor:
        """SiLU(first half) x second half, or ReLU where there is no gate."""

    def top_k(self, logits: Tensor, picks: int) -> tuple[Tensor, Tensor]:
        """Weights that sum to 1 (float32) and numbers of each row's likeliest experts, (rows, picks)."""

    def grouped(self, x: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
        """Each row times its expert's matrix (experts, columns, width); expert i's rows end at ends[i]."""

    def weighted_sum(self, x: Tensor, weights: Tensor) -> Tensor:
        """Sum over the picks of x (rows, picks, hidden)."""

    def decode(self, out: Tensor, q: Tensor, pages: Pages, longest: int, total: int) -> None:
        """The first len(q) requests: one query (heads, head_dim) each, over all its tokens.

        None has more than `longest`; together they have about `total`.
        """

    def prefill(self, out: Tensor, q: Tensor, pages: Pages, chunks: Sequence[tuple[int, int]]) -> None:
        """The other requests: chunks of queries, one after the other; each query sees up to its own token.

        chunks: (new, length) of each, as the host knows them.
        """


class PlainKernels:
    """Everything by torch's own operations; meant for a CPU, right on any device."""

    def add_norm(self, x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        """residual += x; x = norm(residual)."""
        residual += x
        if bias is None:
            x.copy_(F.rms_norm(residual, weight.shape, weight, EPSILON))
        else:
            x.copy_(F.layer_norm(residual, weight.shape, weight, bias, EPSILON))

    def head_norm(self, qkv: Tensor, q_weight: Tensor, k_weight: Tensor, heads: int, kv_heads: int) -> None:
        """RMSNorm of every query head and key head."""
        queries, keys = qkv[:, :heads], qkv[:, heads : heads + kv_heads]
        queries.copy_(F.rms_norm(queries, q_weight.shape, q_weight, EPSILON))
        keys.copy_(F.rms_norm(keys, k_weight.shape, k_weight, EPSILON))

    def rotary(self, qkv: Tensor, cosines: Tensor, sines: Tensor, positions: Tensor, turned: int) -> None:
        """Turn the first `turned` heads by their position."""
        cos, sin = cosines[positions].unsqueeze(1), sines[positions].unsqueeze(1)
        first, second = qkv[:, :turned].chunk(2, dim=-1)
        qkv[:, :turned].copy_(torch.cat((first * cos - second * sin, second * cos + first * sin), -1))

    def write_kv(self, keys: Tensor, values: Tensor, qkv: Tensor, slots: Tensor, heads: int) -> None:
        """Put the key and value heads of every row into its slot."""
        kv_heads = keys.shape[2]
        keys.flatten(0, 1)[slots] = qkv[:, heads : heads + kv_heads]
        values.flatten(0, 1)[slots] = qkv[:, heads + kv_heads :]

    def activate(self, x: Tensor, gated: bool) -> Tensor:
        """SiLU(first half) x second half, or ReLU where there is no gate."""
        if not gated:
            return F.relu(x)
        gate, up = x.chunk(2, dim=-1)
        return F.silu(gate) * up

    def top_k(self, logits: Tensor, picks: int) -> tuple[Tensor, Tensor]:
        """Weights and numbers of each row's likeliest experts."""
        best, experts = logits.float().topk(picks, dim=-1)
        return best.softmax(-1), experts

    def grouped(self, x: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
        """Each row times its expert's matrix, expert by expert."""
        out = x.new_empty(len(x), weights.shape[-1])
        first = 0
        for expert, last in enumerate(ends.tolist()):
            if last > first:
                torch.mm(x[first:last], weights[expert], out=out[first:last])
            first = last
        return out

    def weighted_sum(self, x: Tensor, weights: Tensor) -> Tensor:
        """Sum over the picks."""
        return torch.sum(x * weights.unsqueeze(-1).to(x.dtype), 1)

    def decode(self, out: Tensor, q: Tensor, pages: Pages, longest: int, total: int) -> None:
        """Request by request, its pages gathered, so that the time follows the total and not the longest."""
        for place, length in enumerate(pages.lengths[: len(q)].tolist()):
            keys, values = _held(pages, place, length)
            out[place] = paged.sdpa(q[None, None, place], keys, values, None)[0, 0]

    def prefill(self, out: Tensor, q: Tensor, pages: Pages, chunks: Sequence[tuple[int, int]]) -> None:
        """Chunk by chunk, its pages gathered."""
        first = 0
        for place, (new, length) in enumerate(chunks, start=len(pages.tables) - len(chunks)):
            keys, values = _held(pages, place, length)
            queries = q[None, first : first + new]
            mask = paged.chunk_mask(new, length - new, q.device) if length > new else None
            out[first : first + new] = paged.sdpa(queries, keys, values, mask, causal=mask is None)[0]
            first += new


def _held(pages: Pages, place: int, length: int) -> tuple[Tensor, Tensor]:
    """The keys and values of one request's tokens, (1, tokens, KV heads, head_dim) each, copied together."""
    blocks = pages.tables[place : place + 1, : -(-length // pages.keys.shape[1])].long()
    keys, values = (paged.gathered(kv, blocks)[:, :length] for kv in (pages.keys, pages.values))
    return keys, values


def kernels_for(device: torch.device, prefill_tile: int = 64) -> Kernels:
    """The fastest that the device has: those in Triton on CUDA, else plain torch.

    prefill_tile: keys per turn of the prefill kernel's inner loop, 64 or 128.
    """
    if device.type != "cuda":
        return PlainKernels()
    from calibrate.reference_engine.fused import FusedKernels  # needs Triton

    return FusedKernels(device, prefill_tile)
