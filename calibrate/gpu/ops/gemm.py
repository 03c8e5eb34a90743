"""Dense matrix products: F.linear in bf16, _scaled_mm in fp8."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from calibrate.gpu.bench import Bench, Candidate, lacking, relative_error
from calibrate.gpu.errors import UnavailableError
from calibrate.gpu.planfile import PlanPoint
from calibrate.gpu.timing import Call

_FP8_CAPABILITY = (8, 9)
_CHECKED = (48, 256, 512)


def candidates(point: PlanPoint, bench: Bench) -> list[Candidate]:
    """m rows times an (n, k) weight, as an engine's projections run it."""
    m, n, k = point.number("m"), point.number("n"), point.number("k")
    if point.dtype == "bf16":
        return [_plain(bench, m, n, k)]
    if point.dtype == "fp8":
        return [_scaled(bench, m, n, k, rowwise) for rowwise in (False, True)]
    return [lacking(f"no kernel here multiplies weights in {point.dtype}")]


def _plain(bench: Bench, m: int, n: int, k: int) -> Candidate:
    def prepare() -> Call:
        x, weight = _input(bench, "bf16", m, k), bench.random("bf16", n, k)
        return lambda: F.linear(x, weight)

    def check() -> float:
        rows, width, depth = _CHECKED
        x, weight = bench.normal("bf16", rows, depth), bench.normal("bf16", width, depth)
        return relative_error(F.linear(x, weight), F.linear(x.float(), weight.float()))

    name = "cublas" if bench.cuda and torch.version.cuda else "linear"
    return Candidate(name, prepare, check, ("gemm", "bf16"))


def _input(bench: Bench, dtype: str, m: int, k: int) -> torch.Tensor:
    """The same rows in every call, other weights: in an engine the kernel before has just written the rows."""
    return bench.kept(("x", dtype, m, k), lambda: bench.random(dtype, m, k))


def _scaled(bench: Bench, m: int, n: int, k: int, rowwise: bool) -> Candidate:
    """Weights and activations in fp8 with float32 scales: one each, or one per row and output channel."""

    def scales(rows: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        if rowwise:
            return torch.full((rows, 1), 0.5, device=bench.device), torch.full((1, width), 2.0, device=bench.device)
        return torch.tensor(0.5, device=bench.device), torch.tensor(2.0, device=bench.device)

    def prepare() -> Call:
        _require_fp8(bench)
        x, weight = _input(bench, "fp8", m, k), bench.random("fp8", n, k).t()
        scale_x, scale_weight = scales(m, n)
        return lambda: scaled_mm(x, weight, scale_x, scale_weight)

    def check() -> float:
        _require_fp8(bench)
        rows, width, depth = _CHECKED
        x, weight = bench.normal("fp8", rows, depth), bench.normal("fp8", width, depth)
        out = scaled_mm(x, weight.t(), *scales(rows, width))
        return relative_error(out, F.linear(x.float(), weight.float()))

    name = "scaled_mm_rowwise" if rowwise else "scaled_mm"
    return Candidate(name, prepare, check, ("gemm", name))


def scaled_mm(x: torch.Tensor, weight: torch.Tensor, scale_x: torch.Tensor, scale_weight: torch.Tensor) -> torch.Tensor:
    """x (m, k) times weight (k, n), column-major, in fp8, to bf16."""
    multiply: Callable[..., torch.Tensor | tuple[torch.Tensor, ...]] = torch._scaled_mm
    out = multiply(x, weight, scale_a=scale_x, scale_b=scale_weight, out_dtype=torch.bfloat16, use_fast_accum=True)
    return out[0] if isinstance(out, tuple) else out  # older versions also give the largest value


def _require_fp8(bench: Bench) -> None:
    if not bench.cuda or bench.capability < _FP8_CAPABILITY:
        raise UnavailableError("fp8 products need a GPU of compute capability 8.9 or newer")
