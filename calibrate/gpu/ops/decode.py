"""Decode attention: one query per sequence, over a paged KV cache with mixed context lengths."""

import functools

import numpy as np
import torch

from calibrate.gpu.bench import BLOCK_SIZE, Bench, Candidate, poisoned, relative_error
from calibrate.gpu.errors import UnavailableError
from calibrate.gpu.ops import paged
from calibrate.gpu.planfile import PlanPoint
from calibrate.gpu.timing import Call

_CHECKED_LENGTHS = np.array([1, 16, 17, 700, 64, 255])
_FP8_CAPABILITY = (8, 9)


def candidates(point: PlanPoint, bench: Bench) -> list[Candidate]:
    """`batch` queries; context_tokens is the mean of their contexts."""
    if bench.cuda and bench.triton:
        return [_triton(point, bench), _gather(point, bench, fallback=True)]
    return [_gather(point, bench, looped=True), _gather(point, bench)]


def _triton(point: PlanPoint, bench: Bench) -> Candidate:
    """Our own flash-decoding kernel, which reads the blocks in place."""
    heads, kv_heads, head_dim = (point.number(name) for name in ("heads", "kv_heads", "head_dim"))

    @functools.cache
    def layout() -> tuple[paged.Tables, torch.Tensor, torch.Tensor]:
        lengths = paged.mixed_lengths(point.number("batch"), point.number("context_tokens"), bench.rng)
        table = paged.tables(lengths, bench.rng)
        return table, bench.integers(table.blocks), bench.integers(table.lengths)

    def prepare() -> Call:
        from calibrate.gpu.kernels.paged_decode import PagedDecode, chunk_tokens

        _require(point.dtype, bench)
        table, blocks, lengths = layout()
        keys, values = paged.cache(bench, point.dtype, table.count, kv_heads, head_dim)
        q = bench.random("bf16", len(table.lengths), heads, head_dim)
        out = torch.empty_like(q)
        chunk = chunk_tokens(int(table.lengths.sum()), kv_heads, bench.processors)
        attend = PagedDecode(q, kv_heads, int(table.lengths.max()), chunk)
        return lambda: attend(out, q, keys, values, blocks, lengths)

    def check() -> float:
        from calibrate.gpu.kernels.paged_decode import PagedDecode

        _require(point.dtype, bench)
        table, q, keys, values = _small(point, bench)
        want = _reference(table, q, keys, values, bench)
        errors = []
        for chunk in (256, 1024):  # with and without merging
            out = poisoned(*q.shape, device=bench.device)
            attend = PagedDecode(q, kv_heads, int(table.lengths.max()), chunk)
            attend(out, q, keys, values, bench.integers(table.blocks), bench.integers(table.lengths))
            errors.append(relative_error(out, want))
        return max(errors)

    return Candidate(
        "triton_paged", prepare, check, ("attention_decode", "triton", point.dtype, heads, kv_heads, head_dim)
    )


def _gather(point: PlanPoint, bench: Bench, looped: bool = False, fallback: bool = False) -> Candidate:
    """Copy the blocks of every sequence together, then torch's attention: all at once or one by one."""
    heads, kv_heads, head_dim = (point.number(name) for name in ("heads", "kv_heads", "head_dim"))

    @functools.cache
    def layout() -> tuple[paged.Tables, torch.Tensor, torch.Tensor]:
        lengths = paged.mixed_lengths(point.number("batch"), point.number("context_tokens"), bench.rng)
        table = paged.tables(lengths, bench.rng)
        return table, bench.integers(table.blocks, torch.int64), bench.integers(table.lengths)

    def prepare() -> Call:
        table, blocks, lengths = layout()
        keys, values = paged.cache(bench, point.dtype, table.count, kv_heads, head_dim)
        q = bench.random("bf16", len(table.lengths), heads, head_dim)
        if looped:
            known = table.lengths.tolist()
            return lambda: paged.looped_decode(q, keys, values, blocks, known)
        return lambda: paged.gathered_decode(q, keys, values, blocks, lengths)

    def check() -> float:
        table, q, keys, values = _small(point, bench)
        blocks = bench.integers(table.blocks, torch.int64)
        if looped:
            out = torch.cat(paged.looped_decode(q, keys, values, blocks, table.lengths.tolist()))
        else:
            out = paged.gathered_decode(q, keys, values, blocks, bench.integers(table.lengths))
        return relative_error(out, _reference(table, q, keys, values, bench))

    name = "looped_sdpa" if looped else "gather_sdpa"
    key = ("attention_decode", name, point.dtype, heads, kv_heads, head_dim)
    return Candidate(name, prepare, check, key, fallback=fallback)


def _small(point: PlanPoint, bench: Bench) -> tuple[paged.Tables, torch.Tensor, torch.Tensor, torch.Tensor]:
    heads, kv_heads, head_dim = (point.number(name) for name in ("heads", "kv_heads", "head_dim"))
    table = paged.tables(_CHECKED_LENGTHS, bench.rng)
    shape = (table.count, BLOCK_SIZE, kv_heads, head_dim)
    keys, values = bench.normal(point.dtype, *shape), bench.normal(point.dtype, *shape)
    return table, bench.normal("bf16", len(_CHECKED_LENGTHS), heads, head_dim), keys, values


def _reference(
    table: paged.Tables, q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bench: Bench
) -> torch.Tensor:
    blocks = bench.integers(table.blocks, torch.int64)
    lengths = bench.integers(table.lengths)
    k, v = paged.gathered(keys, blocks), paged.gathered(values, blocks)
    mask = torch.arange(k.shape[1], device=bench.device)[None, None, None, :] < lengths[:, None, None, None]
    return paged.reference(q.unsqueeze(1), k, v, mask).squeeze(1)


def _require(dtype: str, bench: Bench) -> None:
    if dtype == "fp8" and bench.capability < _FP8_CAPABILITY:
        raise UnavailableError("reading an fp8 KV cache needs a GPU of compute capability 8.9 or newer")
