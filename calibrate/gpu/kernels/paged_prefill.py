"""Causal attention of prefill chunks over a paged KV cache in Triton.

Shapes: q and out (tokens, heads, head_dim), the chunks one after the other; key and value cache (blocks,
block_size, kv_heads, head_dim) in bf16, fp16 or fp8 (e4m3, with one scale each), with the chunks' own keys
and values already in it; block_table (chunks, most blocks of a sequence) int32; lengths (chunks,) int32,
tokens of each sequence, the chunk included; starts (chunks + 1,) int32, the chunk's first row in q, and the
end of the last one.
"""

import torch
import triton
import triton.language as tl

TILE_M = 128
TILE_N = 64


def paged_prefill(
    out: torch.Tensor,
    q: torch.Tensor,
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    block_table: torch.Tensor,
    lengths: torch.Tensor,
    starts: torch.Tensor,
    longest_chunk: int,
    key_scale: float = 1.0,
    value_scale: float = 1.0,
    tile_n: int = TILE_N,
) -> torch.Tensor:
    """Attention of every chunk over its context and, causally, over itself, into `out`.

    tile_n: keys per turn of the inner loop; 128 needs the shared memory of an H100.
    """
    _, heads, head_dim = q.shape
    kv_heads, block_size = key_cache.shape[2], key_cache.shape[1]
    chunks = lengths.shape[0]
    dims = triton.next_power_of_2(head_dim)
    _attend_rows[(triton.cdiv(longest_chunk, TILE_M), heads, chunks)](
        q, key_cache, value_cache, block_table, lengths, starts, out,
        head_dim**-0.5 * key_scale * 1.4426950408889634, value_scale,
        q.stride(0), out.stride(0), block_table.stride(0), key_cache.stride(0), key_cache.stride(1),
        heads // kv_heads, HEAD_DIM=head_dim, DIMS=dims, BLOCK=block_size,
        TILE_M=TILE_M, TILE_N=tile_n if dims <= 128 else tile_n // 2, num_warps=8, num_stages=3,
    )  # fmt: skip
    return out


# Where a step's tables lie in memory depends on the step: no kernel of its own for each alignment.
@triton.jit(do_not_specialize=["table_ptr", "lengths_ptr", "starts_ptr", "table_stride", "heads_per_kv"])
def _attend_rows(
    q_ptr, k_ptr, v_ptr, table_ptr, lengths_ptr, starts_ptr, out_ptr, scale, value_scale,
    q_stride, out_stride, table_stride, block_stride, token_stride,
    heads_per_kv, HEAD_DIM: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
    TILE_M: tl.constexpr, TILE_N: tl.constexpr,
):  # fmt: skip
    tile = tl.num_programs(0) - 1 - tl.program_id(0)  # the last rows see most keys: they start first
    head, seq = tl.program_id(1), tl.program_id(2)
    start = tl.load(starts_ptr + seq)
    new = tl.load(starts_ptr + seq + 1) - start
    if tile * TILE_M >= new:
        return
    length = tl.load(lengths_ptr + seq)
    context = length - new
    row = tile * TILE_M + tl.arange(0, TILE_M)
    dim = tl.arange(0, DIMS)
    in_q = (row[:, None] < new) & (dim[None, :] < HEAD_DIM)
    at_row = (start + row).to(tl.int64)
    at_head = head * HEAD_DIM + dim[None, :]
    q = tl.load(q_ptr + at_row[:, None] * q_stride + at_head, mask=in_q, other=0.0)
    highest = tl.full([TILE_M], float("-inf"), tl.float32)
    total = tl.zeros([TILE_M], tl.float32)
    acc = tl.zeros([TILE_M, DIMS], tl.float32)
    table = table_ptr + seq.to(tl.int64) * table_stride
    at_kv = (head // heads_per_kv) * HEAD_DIM
    seen_by_all = (context + tile * TILE_M + 1) // TILE_N * TILE_N
    end = tl.minimum(length, context + (tile + 1) * TILE_M)
    acc, highest, total = _over_keys(
        acc, highest, total, q, k_ptr, v_ptr, table, 0, seen_by_all, end, context + row, at_kv, dim, scale,
        block_stride, token_stride, HEAD_DIM, BLOCK, TILE_N, False,
    )  # fmt: skip
    acc, highest, total = _over_keys(
        acc, highest, total, q, k_ptr, v_ptr, table, seen_by_all, end, end, context + row, at_kv, dim, scale,
        block_stride, token_stride, HEAD_DIM, BLOCK, TILE_N, True,
    )  # fmt: skip
    acc = acc * (value_scale / total)[:, None]
    tl.store(out_ptr + at_row[:, None] * out_stride + at_head, acc.to(out_ptr.dtype.element_ty), mask=in_q)


@triton.jit
def _over_keys(
    acc, highest, total, q, k_ptr, v_ptr, table, first_key, last_key, end, position, at_kv, dim, scale,
    block_stride, token_stride,
    HEAD_DIM: tl.constexpr, BLOCK: tl.constexpr, TILE_N: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """One pass over the keys first_key .. last_key; MASKED where some rows must not see some of them."""
    for first in range(first_key, last_key, TILE_N):
        token = first + tl.arange(0, TILE_N)
        if MASKED:
            valid = token < end
            block = tl.load(table + token // BLOCK, mask=valid, other=0)
            mask = valid[:, None] & (dim[None, :] < HEAD_DIM)
        else:
            block = tl.load(table + token // BLOCK)
            mask = (dim[None, :] < HEAD_DIM) & (token[:, None] >= 0)
        at_token = block.to(tl.int64) * block_stride + (token % BLOCK) * token_stride + at_kv
        at = at_token[:, None] + dim[None, :]
        k = tl.load(k_ptr + at, mask=mask, other=0.0).to(q.dtype)
        scores = tl.dot(q, tl.trans(k)) * scale
        if MASKED:
            scores = tl.where(token[None, :] <= position[:, None], scores, float("-inf"))
        v = tl.load(v_ptr + at, mask=mask, other=0.0).to(q.dtype)
        higher = tl.maximum(highest, tl.max(scores, 1))
        weight = tl.exp2(scores - higher[:, None])
        fade = tl.exp2(highest - higher)
        total = total * fade + tl.sum(weight, 1)
        acc = acc * fade[:, None] + tl.dot(weight.to(q.dtype), v)
        highest = higher
    return acc, highest, total
