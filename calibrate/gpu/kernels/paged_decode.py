"""Decode attention over a paged KV cache in Triton: one query per sequence, split along the context.

Shapes: q (batch, heads, head_dim); key and value cache (blocks, block_size, kv_heads, head_dim) in bf16, fp16
or fp8 (e4m3, with one scale each); block_table (batch, most blocks of a sequence) int32; lengths (batch,)
int32, tokens of each sequence, the query's own included. Every sequence is cut into chunks of equal length,
so that mixed contexts load the GPU evenly; a second kernel merges the chunks where there are several.
"""

import torch
import triton
import triton.language as tl

TILE = 64
_LEAST_CHUNK_TOKENS = 256
_PROGRAMS_PER_SM = 4


def chunk_tokens(total_tokens: int, kv_heads: int, processors: int) -> int:
    """Tokens per chunk that give every processor (SM) some programs, but none a chunk that is not worth
    it."""
    share = -(-total_tokens * kv_heads // (processors * _PROGRAMS_PER_SM))
    return max(-(-share // TILE) * TILE, _LEAST_CHUNK_TOKENS)


class PagedDecode:
    """Buffers and launch settings for batches of at most `batch` sequences of at most `longest` tokens."""

    def __init__(self, q: torch.Tensor, kv_heads: int, longest: int, chunk: int) -> None:
        batch, heads, head_dim = q.shape
        self.chunk = chunk
        self.splits = -(-longest // chunk)
        parts = (batch, heads, self.splits) if self.splits > 1 else (1, 1, 1)
        self.part_out = torch.empty((*parts, head_dim), dtype=torch.float32, device=q.device)
        self.part_lse = torch.empty(parts, dtype=torch.float32, device=q.device)
        self.group = heads // kv_heads

    def __call__(
        self,
        out: torch.Tensor,
        q: torch.Tensor,
        key_cache: torch.Tensor,
        value_cache: torch.Tensor,
        block_table: torch.Tensor,
        lengths: torch.Tensor,
        key_scale: float = 1.0,
        value_scale: float = 1.0,
    ) -> torch.Tensor:
        """Attention of every query over its sequence, into `out` (batch, heads, head_dim)."""
        batch, heads, head_dim = q.shape
        kv_heads, block_size = key_cache.shape[2], key_cache.shape[1]
        dims = triton.next_power_of_2(head_dim)
        _attend_chunk[(kv_heads, self.splits, batch)](
            q, key_cache, value_cache, block_table, lengths, out, self.part_out, self.part_lse,
            head_dim**-0.5 * key_scale * 1.4426950408889634, value_scale,
            q.stride(0), out.stride(0), block_table.stride(0), key_cache.stride(0), key_cache.stride(1),
            self.chunk, self.splits, self.group,
            GROUP_PAD=max(16, triton.next_power_of_2(self.group)),
            HEAD_DIM=head_dim, DIMS=dims, BLOCK=block_size, TILE_N=TILE if dims <= 128 else TILE // 2,
            ONE_CHUNK=self.splits == 1, num_warps=4, num_stages=3,
        )  # fmt: skip
        if self.splits > 1:
            _merge_chunks[(heads, batch)](
                self.part_out, self.part_lse, lengths, out, out.stride(0), self.chunk, self.splits, heads,
                HEAD_DIM=head_dim, DIMS=dims, TILE_S=16, num_warps=4,
            )  # fmt: skip
        return out


# What differs from model to model or from step to step is an argument where it can be, since every constant (and
# every alignment of a pointer) means compiling again.
@triton.jit(do_not_specialize=["table_ptr", "lengths_ptr", "splits", "table_stride", "heads_per_kv"])
def _attend_chunk(
    q_ptr, k_ptr, v_ptr, table_ptr, lengths_ptr, out_ptr, part_out_ptr, part_lse_ptr,
    scale, value_scale, q_stride, out_stride, table_stride, block_stride, token_stride, chunk, splits,
    heads_per_kv, GROUP_PAD: tl.constexpr, HEAD_DIM: tl.constexpr, DIMS: tl.constexpr,
    BLOCK: tl.constexpr, TILE_N: tl.constexpr, ONE_CHUNK: tl.constexpr,
):  # fmt: skip
    kv_head, split, seq = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths_ptr + seq)
    start = split * chunk
    if start >= length:
        return
    end = tl.minimum(start + chunk, length)
    group = tl.arange(0, GROUP_PAD)
    dim = tl.arange(0, DIMS)
    in_q = (group[:, None] < heads_per_kv) & (dim[None, :] < HEAD_DIM)
    head = kv_head * heads_per_kv + group
    at_q = head[:, None] * HEAD_DIM + dim[None, :]
    q = tl.load(q_ptr + seq.to(tl.int64) * q_stride + at_q, mask=in_q, other=0.0)
    highest = tl.full([GROUP_PAD], float("-inf"), tl.float32)
    total = tl.zeros([GROUP_PAD], tl.float32)
    acc = tl.zeros([GROUP_PAD, DIMS], tl.float32)
    for first in range(start, end, TILE_N):
        token = first + tl.arange(0, TILE_N)
        valid = token < end
        block = tl.load(table_ptr + seq.to(tl.int64) * table_stride + token // BLOCK, mask=valid, other=0)
        row = block.to(tl.int64) * block_stride + (token % BLOCK) * token_stride + kv_head * HEAD_DIM
        at = row[:, None] + dim[None, :]
        mask = valid[:, None] & (dim[None, :] < HEAD_DIM)
        k = tl.load(k_ptr + at, mask=mask, other=0.0).to(q.dtype)
        scores = tl.dot(q, tl.trans(k)) * scale
        scores = tl.where(valid[None, :], scores, float("-inf"))
        v = tl.load(v_ptr + at, mask=mask, other=0.0).to(q.dtype)
        higher = tl.maximum(highest, tl.max(scores, 1))
        weight = tl.exp2(scores - higher[:, None])
        fade = tl.exp2(highest - higher)
        total = total * fade + tl.sum(weight, 1)
        acc = acc * fade[:, None] + tl.dot(weight.to(q.dtype), v)
        highest = higher
    acc = acc * (value_scale / total)[:, None]
    if ONE_CHUNK:
        at_out = seq.to(tl.int64) * out_stride + at_q
        tl.store(out_ptr + at_out, acc.to(out_ptr.dtype.element_ty), mask=in_q)
    else:
        heads = tl.num_programs(0) * heads_per_kv
        part = (seq.to(tl.int64) * heads + head) * splits + split
        tl.store(part_out_ptr + part[:, None] * HEAD_DIM + dim[None, :], acc, mask=in_q)
        tl.store(part_lse_ptr + part, highest + tl.log2(total), mask=group < heads_per_kv)


@triton.jit(do_not_specialize=["lengths_ptr", "splits", "heads"])
def _merge_chunks(
    part_out_ptr, part_lse_ptr, lengths_ptr, out_ptr, out_stride, chunk, splits, heads,
    HEAD_DIM: tl.constexpr, DIMS: tl.constexpr, TILE_S: tl.constexpr,
):  # fmt: skip
    head, seq = tl.program_id(0), tl.program_id(1)
    used = tl.cdiv(tl.load(lengths_ptr + seq), chunk)
    dim = tl.arange(0, DIMS)
    base = (seq.to(tl.int64) * heads + head) * splits
    highest = float("-inf")
    total = 0.0
    acc = tl.zeros([DIMS], tl.float32)
    for first in range(0, used, TILE_S):
        part = first + tl.arange(0, TILE_S)
        lse = tl.load(part_lse_ptr + base + part, mask=part < used, other=float("-inf"))
        mask = (part[:, None] < used) & (dim[None, :] < HEAD_DIM)
        values = tl.load(part_out_ptr + (base + part)[:, None] * HEAD_DIM + dim[None, :], mask=mask, other=0.0)
        higher = tl.maximum(highest, tl.max(lse, 0))
        weight = tl.exp2(lse - higher)
        fade = tl.exp2(highest - higher)
        total = total * fade + tl.sum(weight, 0)
        acc = acc * fade + tl.sum(weight[:, None] * values, 0)
        highest = higher
    at_out = seq.to(tl.int64) * out_stride + head * HEAD_DIM + dim
    tl.store(out_ptr + at_out, (acc / total).to(out_ptr.dtype.element_ty), mask=dim < HEAD_DIM)
