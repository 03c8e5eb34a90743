"""Products of a mixture's experts: every token through some of many matrices, its rows already in expert
order."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from calibrate.gpu.bench import Bench, Candidate, lacking, relative_error
from calibrate.gpu.errors import UnavailableError
from calibrate.gpu.planfile import PlanPoint
from calibrate.gpu.timing import Call

_HOPPER = (9, 0)


def candidates(point: PlanPoint, bench: Bench) -> list[Candidate]:
    """m tokens, each through experts_per_token different ones of the experts, evenly at random."""
    if point.dtype == "bf16":
        # One product per expert needs the host to know, in the middle of a step, how many rows each has.
        return [_grouped(point, bench), replace(_looped(point, bench), fallback=bench.cuda)]
    if point.dtype == "fp8":
        return [_scaled_grouped(point, bench)]
    return [lacking(f"no kernel here multiplies experts in {point.dtype}")]


def rows_per_expert(rng: np.random.Generator, tokens: int, experts: int, picks: int) -> np.ndarray:
    """How many tokens picked each expert."""
    chosen = rng.random((tokens, experts)).argpartition(picks - 1, axis=1)[:, :picks]
    return np.bincount(chosen.ravel(), minlength=experts)


def _grouped(point: PlanPoint, bench: Bench) -> Candidate:
    """torch's grouped product: one kernel for all experts."""
    m, n, k, experts, picks = _shape(point)

    def prepare() -> Call:
        multiply = _multiply()
        ends = _ends(bench, rows_per_expert(bench.rng, m, experts, picks))
        x, weights = bench.random("bf16", m * picks, k), bench.random("bf16", experts, n, k).transpose(1, 2)
        return lambda: multiply(x, weights, offs=ends)

    def check() -> float:
        multiply, counts = _multiply(), rows_per_expert(bench.rng, 50, 4, 2)
        x, weights = bench.normal("bf16", 100, 128), bench.normal("bf16", 4, 64, 128)
        out = multiply(x, weights.transpose(1, 2), offs=_ends(bench, counts))
        return relative_error(out, _reference(x, weights, counts))

    return Candidate("grouped_mm", prepare, check, ("grouped_gemm", "grouped_mm"))


def _scaled_grouped(point: PlanPoint, bench: Bench) -> Candidate:
    """The same in fp8, one float32 scale per row and per output channel of each expert."""
    m, n, k, experts, picks = _shape(point)

    def prepare() -> Call:
        multiply = _scaled_multiply(bench)
        ends = _ends(bench, rows_per_expert(bench.rng, m, experts, picks))
        x, weights = bench.random("fp8", m * picks, k), bench.random("fp8", experts, n, k).transpose(1, 2)
        scale_x = torch.full((m * picks,), 0.5, device=bench.device)
        scale_w = torch.full((experts, n), 2.0, device=bench.device)
        return lambda: multiply(x, weights, scale_x, scale_w, ends)

    def check() -> float:
        multiply, counts = _scaled_multiply(bench), rows_per_expert(bench.rng, 50, 4, 2)
        x, weights = bench.normal("fp8", 100, 128), bench.normal("fp8", 4, 64, 128)
        scale_x = torch.full((100,), 0.5, device=bench.device)
        scale_w = torch.full((4, 64), 2.0, device=bench.device)
        out = multiply(x, weights.transpose(1, 2), scale_x, scale_w, _ends(bench, counts))
        return relative_error(out, _reference(x.float(), weights.float(), counts))

    return Candidate("scaled_grouped_mm", prepare, check, ("grouped_gemm", "scaled_grouped_mm"))


def _looped(point: PlanPoint, bench: Bench) -> Candidate:
    """One product per expert that is picked at all, for a torch without a grouped product."""
    m, n, k, experts, picks = _shape(point)

    def prepare() -> Call:
        counts = rows_per_expert(bench.rng, m, experts, picks)
        x, weights = bench.random("bf16", m * picks, k), bench.random("bf16", experts, n, k)
        return lambda: _one_by_one(x, weights, counts)

    def check() -> float:
        counts = rows_per_expert(bench.rng, 50, 4, 2)
        x, weights = bench.normal("bf16", 100, 128), bench.normal("bf16", 4, 64, 128)
        out = torch.cat(_one_by_one(x, weights, counts))
        return relative_error(out, _reference(x, weights, counts))

    return Candidate("looped", prepare, check, ("grouped_gemm", "looped"))


def _one_by_one(x: torch.Tensor, weights: torch.Tensor, counts: np.ndarray) -> list[torch.Tensor]:
    outs, start = [], 0
    for expert in np.flatnonzero(counts).tolist():
        rows = int(counts[expert])
        outs.append(F.linear(x[start : start + rows], weights[expert]))
        start += rows
    return outs


def _reference(x: torch.Tensor, weights: torch.Tensor, counts: np.ndarray) -> torch.Tensor:
    return torch.cat(_one_by_one(x.float(), weights.float(), counts))


def _ends(bench: Bench, counts: np.ndarray) -> torch.Tensor:
    """Where each expert's rows end."""
    return bench.integers(np.cumsum(counts))


def _multiply() -> Callable[..., torch.Tensor]:
    for owner, name in ((F, "grouped_mm"), (torch, "_grouped_mm")):
        if hasattr(owner, name):
            multiply: Callable[..., torch.Tensor] = getattr(owner, name)
            return multiply
    raise UnavailableError(f"torch {torch.__version__} has no grouped_mm (2.8 and newer have)")


def _scaled_multiply(bench: Bench) -> Callable[..., torch.Tensor]:
    if not bench.cuda or bench.capability < _HOPPER:
        raise UnavailableError("the grouped fp8 product needs a GPU of compute capability 9.0 or newer")
    if not hasattr(torch, "_scaled_grouped_mm"):
        raise UnavailableError(f"torch {torch.__version__} has no _scaled_grouped_mm (2.8 and newer have)")

    def multiply(
        x: torch.Tensor,
        weights: torch.Tensor,
        scale_x: torch.Tensor,
        scale_w: torch.Tensor,
        ends: torch.Tensor,
    ) -> torch.Tensor:
        return torch._scaled_grouped_mm(
            x, weights, scale_x, scale_w, offs=ends, out_dtype=torch.bfloat16, use_fast_accum=True
        )

    return multiply


def _shape(point: PlanPoint) -> tuple[int, int, int, int, int]:
    m, n, k, experts, picks = (point.number(name) for name in ("m", "n", "k", "experts", "experts_per_token"))
    return m, n, k, experts, picks
