"""The Triton kernels against plain torch, in Triton's interpreter: TRITON_INTERPRET=1, and no GPU.

The interpreter has no bf16, so float16 and float32 stand for it.
"""

import os

import numpy as np
import pytest

pytest.importorskip("triton", reason="Triton is not installed")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs TRITON_INTERPRET=1 in the environment", allow_module_level=True)

import torch

from calibrate.gpu.bench import relative_error
from calibrate.gpu.kernels import rows
from calibrate.gpu.kernels.paged_decode import PagedDecode
from calibrate.gpu.kernels.paged_prefill import paged_prefill
from calibrate.gpu.ops import paged

HEADS = [(8, 2, 64), (4, 4, 80), (6, 1, 32)]
RNG = np.random.default_rng(0)
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("chunk", [256, 1024])
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), HEADS)
def test_paged_decode(heads: int, kv_heads: int, dim: int, chunk: int, dtype: torch.dtype) -> None:
    """Contexts of one token, one block, a token more, and several chunks; with merging and without."""
    table = paged.tables(np.array([1, 16, 17, 700, 64, 255]), RNG)
    keys, values = (torch.randn(table.count, 16, kv_heads, dim).to(dtype) for _ in "kv")
    q = torch.randn(6, heads, dim).to(dtype)
    blocks, lengths = torch.as_tensor(table.blocks), torch.as_tensor(table.lengths)
    out = torch.full_like(q, float("nan"))
    PagedDecode(q, kv_heads, 700, chunk)(out, q, keys, values, blocks.int(), lengths.int())
    k, v = paged.gathered(keys, blocks), paged.gathered(values, blocks)
    mask = torch.arange(k.shape[1])[None, None, None, :] < lengths[:, None, None, None]
    want = paged.reference(q.unsqueeze(1), k, v, mask).squeeze(1)
    assert relative_error(out, want) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("tile_n", [64, 128])
@pytest.mark.parametrize("chunks", [[(150, 0)], [(70, 333)], [(40, 10), (130, 0), (1, 64)]], ids=str)
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), HEADS)
def test_paged_prefill(
    heads: int, kv_heads: int, dim: int, chunks: list[tuple[int, int]], tile_n: int, dtype: torch.dtype
) -> None:
    """(new, context) of each chunk."""
    lengths = np.array([new + context for new, context in chunks])
    table = paged.tables(lengths, RNG)
    keys, values = (torch.randn(table.count, 16, kv_heads, dim).to(dtype) for _ in "kv")
    starts = np.cumsum([0, *(new for new, _ in chunks)])
    q = torch.randn(int(starts[-1]), heads, dim).to(dtype)
    out = torch.full_like(q, float("nan"))
    blocks = torch.as_tensor(table.blocks)
    whole, begin = torch.as_tensor(lengths).int(), torch.as_tensor(starts).int()
    paged_prefill(out, q, keys, values, blocks.int(), whole, begin, max(new for new, _ in chunks), tile_n=tile_n)
    for i, (new, context) in enumerate(chunks):
        own = slice(int(starts[i]), int(starts[i + 1]))
        k, v = (paged.gathered(kv, blocks[i : i + 1])[:, : new + context] for kv in (keys, values))
        want = paged.reference(q[None, own], k, v, paged.chunk_mask(new, context, q.device))[0]
        assert relative_error(out[own], want) < TOLERANCE[dtype]


def test_rows() -> None:
    """The fused element-wise kernels, each against its formula."""
    x, residual, weight = torch.randn(5, 96), torch.randn(5, 96), torch.randn(96)
    total = x + residual
    want = total * torch.rsqrt(total.pow(2).mean(-1, keepdim=True) + 1e-6) * weight
    rows.add_rms_norm(x, residual, weight)
    assert relative_error(x, want) < 1e-5 and relative_error(residual, total) < 1e-6
    gates, out = torch.randn(5, 160), torch.full((5, 80), float("nan"))
    rows.silu_mul(out, gates)
    assert relative_error(out, torch.nn.functional.silu(gates[:, :80]) * gates[:, 80:]) < 1e-5
    picked, shares, summed = torch.randn(5, 3, 70), torch.rand(5, 3), torch.full((5, 70), float("nan"))
    rows.weighted_sum(summed, picked, shares)
    assert relative_error(summed, (picked * shares.unsqueeze(-1)).sum(1)) < 1e-5
    logits = torch.randn(5, 60)
    weights, experts = torch.full((5, 4), float("nan")), torch.full((5, 4), -1, dtype=torch.int32)
    rows.top_k(weights, experts, logits)
    best, which = logits.topk(4)
    assert relative_error(weights, best.softmax(-1)) < 1e-5 and torch.equal(experts.long(), which)


def test_rows_of_heads() -> None:
    heads, kv_heads, dim = 6, 2, 32
    qkv = torch.randn(5, heads + 2 * kv_heads, dim)
    keys, values = (torch.zeros(2, 16, kv_heads, dim) for _ in "kv")
    slots = torch.tensor([3, 31, 0, 17, 8])
    rows.write_kv(keys, values, qkv, slots, heads)
    assert torch.equal(keys.view(32, kv_heads, dim)[slots], qkv[:, heads : heads + kv_heads])
    assert torch.equal(values.view(32, kv_heads, dim)[slots], qkv[:, heads + kv_heads :])
    angles, positions = torch.randn(50, dim // 2), torch.tensor([0, 7, 49, 3, 3])
    cos, sin = angles.cos()[positions].unsqueeze(1), angles.sin()[positions].unsqueeze(1)
    first, second = qkv[:, : heads + kv_heads].chunk(2, -1)
    want = torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
    kept = qkv[:, heads + kv_heads :].clone()
    rows.rotary(qkv, angles.cos(), angles.sin(), positions, heads + kv_heads)
    assert relative_error(qkv[:, : heads + kv_heads], want) < 1e-5
    assert torch.equal(qkv[:, heads + kv_heads :], kept)
    q_weight, k_weight = torch.randn(dim), torch.randn(dim)
    normed = qkv * torch.rsqrt(qkv.pow(2).mean(-1, keepdim=True) + 1e-6)
    rows.head_rms_norm(qkv, q_weight, k_weight, heads, kv_heads)
    assert relative_error(qkv[:, :heads], normed[:, :heads] * q_weight) < 1e-5
    assert relative_error(qkv[:, heads : heads + kv_heads], normed[:, heads : heads + kv_heads] * k_weight) < 1e-5
    assert torch.equal(qkv[:, heads + kv_heads :], kept)
