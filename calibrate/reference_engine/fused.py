"""The operations between the matrix products on CUDA: the project's Triton kernels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from calibrate.gpu.kernels import rows
from calibrate.gpu.kernels.paged_decode import PagedDecode, chunk_tokens
from calibrate.gpu.kernels.paged_prefill import paged_prefill
from calibrate.reference_engine.kernels import EPSILON, Pages, PlainKernels


class FusedKernels(PlainKernels):
    """Each operation one kernel; what Triton has no kernel for here (LayerNorm, ReLU) is torch's."""

    def __init__(self, device: torch.device, prefill_tile: int) -> None:
        self.prefill_tile = prefill_tile
        self.processors = torch.cuda.get_device_properties(device).multi_processor_count

    def add_norm(self, x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        """residual += x; x = norm(residual)."""
        if bias is None:
            rows.add_rms_norm(x, residual, weight, EPSILON)
        else:
            super().add_norm(x, residual, weight, bias)

    def head_norm(self, qkv: Tensor, q_weight: Tensor, k_weight: Tensor, heads: int, kv_heads: int) -> None:
        """RMSNorm of every query head and key head."""
        rows.head_rms_norm(qkv, q_weight, k_weight, heads, kv_heads)

    def rotary(self, qkv: Tensor, cosines: Tensor, sines: Tensor, positions: Tensor, turned: int) -> None:
        """Turn the first `turned` heads by their position."""
        rows.rotary(qkv, cosines, sines, positions, turned)

    def write_kv(self, keys: Tensor, values: Tensor, qkv: Tensor, slots: Tensor, heads: int) -> None:
        """Put the key and value heads of every row into its slot."""
        rows.write_kv(keys, values, qkv, slots, heads)

    def activate(self, x: Tensor, gated: bool) -> Tensor:
        """SiLU(first half) x second half, or ReLU where there is no gate."""
        if not gated:
            return super().activate(x, gated)
        out = x.new_empty(len(x), x.shape[1] // 2)
        rows.silu_mul(out, x)
        return out

    def top_k(self, logits: Tensor, picks: int) -> tuple[Tensor, Tensor]:
        """Weights and numbers of each row's likeliest experts."""
        weights = logits.new_empty(len(logits), picks, dtype=torch.float32)
        experts = torch.empty_like(weights, dtype=torch.int32)
        rows.top_k(weights, experts, logits)
        return weights, experts

    def grouped(self, x: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
        """Each row times its expert's matrix, in one kernel."""
        return torch._grouped_mm(x, weights, offs=ends)

    def weighted_sum(self, x: Tensor, weights: Tensor) -> Tensor:
        """Sum over the picks."""
        out = x.new_empty(len(x), x.shape[2])
        rows.weighted_sum(out, x, weights)
        return out

    def decode(self, out: Tensor, q: Tensor, pages: Pages, longest: int, total: int) -> None:
        """One query per request; its context is cut so that the processors are evenly busy."""
        kv_heads = pages.keys.shape[2]
        attend = PagedDecode(q, kv_heads, longest, chunk_tokens(total, kv_heads, self.processors))
        attend(out, q, pages.keys, pages.values, pages.tables, pages.lengths)

    def prefill(self, out: Tensor, q: Tensor, pages: Pages, chunks: Sequence[tuple[int, int]]) -> None:
        """All chunks at once."""
        count, longest = len(chunks), max(new for new, _ in chunks)
        tables, lengths = pages.tables[-count:], pages.lengths[-count:]
        paged_prefill(
            out, q, pages.keys, pages.values, tables, lengths, pages.starts, longest, tile_n=self.prefill_tile
        )
