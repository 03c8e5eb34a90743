"""Attention of one prefill chunk: new tokens, causal, after a context."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from calibrate.gpu.bench import BLOCK_SIZE, Bench, Candidate, poisoned, relative_error
from calibrate.gpu.errors import UnavailableError
from calibrate.gpu.ops import paged
from calibrate.gpu.planfile import PlanPoint
from calibrate.gpu.timing import Call

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""q (1, new, heads, head_dim), k and v (1, context + new, kv_heads, head_dim) -> like q."""

_CHECKED = ((150, 0), (70, 333))
_HOPPER, _FP8_CAPABILITY = (9, 0), (8, 9)


def candidates(point: PlanPoint, bench: Bench) -> list[Candidate]:
    """new_tokens queries over context_tokens keys and, causally, their own.

    Kernels that read the paged cache, as an engine needs them. On the coarse points of a GPU also those over
    keys in one piece, for comparison; cuDNN makes a plan for every shape, which takes long.
    """
    if not bench.cuda:
        return [_gathered(point, bench), _contiguous(point, bench, "sdpa", _masked)]
    found = [_triton(point, bench, 64)] if bench.triton else []
    if bench.triton and bench.capability >= _HOPPER:
        found.append(_triton(point, bench, 128))
    found.append(replace(_gathered(point, bench), fallback=True))
    if not point.level and not point.held_out:
        found.append(_contiguous(point, bench, "flash_sdpa", _flash))
        if not point.number("context_tokens"):
            found.append(_contiguous(point, bench, "cudnn_sdpa", _cudnn))
    return found


def _contiguous(point: PlanPoint, bench: Bench, name: str, attend: Attend) -> Candidate:
    """A kernel over keys and values that lie in one piece; those of an fp8 cache are converted first."""
    new, context = point.number("new_tokens"), point.number("context_tokens")
    heads, kv_heads, head_dim = (point.number(name) for name in ("heads", "kv_heads", "head_dim"))

    def converted(kv: torch.Tensor) -> torch.Tensor:
        return kv.to(torch.bfloat16)

    def prepare() -> Call:
        q = bench.random("bf16", 1, new, heads, head_dim)
        k = bench.random(point.dtype, 1, context + new, kv_heads, head_dim)
        v = bench.random(point.dtype, 1, context + new, kv_heads, head_dim)
        return lambda: attend(q, converted(k), converted(v))

    def check() -> float:
        errors = []
        for some, before in _CHECKED:
            if (before > 0) == (context > 0):
                q = bench.normal("bf16", 1, some, heads, head_dim)
                k = bench.normal(point.dtype, 1, before + some, kv_heads, head_dim)
                v = bench.normal(point.dtype, 1, before + some, kv_heads, head_dim)
                want = paged.reference(q, k, v, paged.chunk_mask(some, before, bench.device))
                errors.append(relative_error(attend(q, converted(k), converted(v)), want))
        return max(errors)

    key = ("attention_prefill", name, point.dtype, heads, kv_heads, head_dim, context > 0)
    return Candidate(f"convert_{name}" if point.dtype == "fp8" else name, prepare, check, key)


def _gathered(point: PlanPoint, bench: Bench) -> Candidate:
    """Copy the sequence's blocks together, make a mask, then torch's attention: a plain engine's way."""

    def run(inputs: Inputs) -> torch.Tensor:
        length = int(inputs.table.lengths[0])
        return paged.attend_one(inputs.q, inputs.keys, inputs.values, inputs.blocks[0], length)

    return _paged(point, bench, "gather_sdpa", run, torch.int64)


def _triton(point: PlanPoint, bench: Bench, tile_n: int) -> Candidate:
    """Our own kernel, which reads the paged cache in place, whatever its format."""

    def run(inputs: Inputs) -> torch.Tensor:
        from calibrate.gpu.kernels.paged_prefill import paged_prefill

        if point.dtype == "fp8" and bench.capability < _FP8_CAPABILITY:
            raise UnavailableError("reading an fp8 KV cache needs a GPU of compute capability 8.9 or newer")
        return paged_prefill(
            inputs.out, inputs.q, inputs.keys, inputs.values, inputs.blocks, inputs.lengths, inputs.starts,
            len(inputs.q), tile_n=tile_n,
        )  # fmt: skip

    return _paged(point, bench, "triton_paged" if tile_n == 64 else f"triton_paged_n{tile_n}", run)


@dataclass(frozen=True)
class Inputs:
    """One chunk over a paged cache; what the kernels' docstrings call them."""

    table: paged.Tables
    q: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    out: torch.Tensor
    blocks: torch.Tensor
    lengths: torch.Tensor
    starts: torch.Tensor


def _paged(
    point: PlanPoint,
    bench: Bench,
    name: str,
    run: Callable[[Inputs], torch.Tensor],
    index: torch.dtype = torch.int32,
) -> Candidate:
    """A kernel over a paged cache."""
    new, context = point.number("new_tokens"), point.number("context_tokens")
    heads, kv_heads, head_dim = (point.number(name) for name in ("heads", "kv_heads", "head_dim"))

    def inputs(some: int, before: int, random: Callable[..., torch.Tensor]) -> Inputs:
        table = paged.tables(np.array([before + some]), bench.rng)
        shape = (table.count, BLOCK_SIZE, kv_heads, head_dim)
        q = random("bf16", some, heads, head_dim)
        return Inputs(
            table,
            q,
            random(point.dtype, *shape),
            random(point.dtype, *shape),
            poisoned(*q.shape, device=bench.device),
            bench.integers(table.blocks, index),
            bench.integers(table.lengths),
            bench.integers([0, some]),
        )

    def prepare() -> Call:
        ready = inputs(new, context, bench.random)
        return lambda: run(ready)

    def check() -> float:
        errors = []
        for some, before in _CHECKED:
            ready = inputs(some, before, bench.normal)
            where = bench.integers(ready.table.blocks, torch.int64)
            k, v = (paged.gathered(kv, where)[:, : before + some] for kv in (ready.keys, ready.values))
            mask = paged.chunk_mask(some, before, bench.device)
            want = paged.reference(ready.q.unsqueeze(0), k, v, mask).squeeze(0)
            errors.append(relative_error(run(ready), want))
        return max(errors)

    key = ("attention_prefill", name, point.dtype, heads, kv_heads, head_dim)
    return Candidate(name, prepare, check, key)


def _masked(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """torch's own choice, under a mask where there is a context."""
    new, context = q.shape[1], k.shape[1] - q.shape[1]
    if not context:
        return paged.sdpa(q, k, v, None, causal=True)
    return paged.sdpa(q, k, v, _kept_mask(new, context, q.device))


@functools.lru_cache(maxsize=1)
def _kept_mask(new: int, context: int, device: torch.device) -> torch.Tensor:
    """The mask is made once, not in every timed run."""
    return paged.chunk_mask(new, context, device)


def _flash(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """FlashAttention as torch carries it. Called below SDPA, whose own mask starts at the first key, not the
    last."""
    out: torch.Tensor = torch.ops.aten._flash_attention_forward(
        q, k, v, None, None, q.shape[1], k.shape[1], 0.0, True, False
    )[0]
    return out


def _cudnn(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """cuDNN's attention of a whole prompt."""
    attend = torch.ops.aten._scaled_dot_product_cudnn_attention
    tensors = (q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    names = {argument.name for argument in attend.default._schema.arguments}
    weights = (None, False) if "compute_log_sumexp" in names else ()  # torch 2.4 has no such choice
    out: torch.Tensor = attend(*tensors, *weights, 0.0, True, False)[0]
    return out.transpose(1, 2)
