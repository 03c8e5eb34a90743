"""How long a measurement will take: the least work of a point, and what timing it adds."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from calibrate.gpu.planfile import PlanPoint

# Seconds per point beyond its runs: making inputs, capturing a graph. Guesses until they have been seen.
_SETUP_S = 0.015
_COLLECTIVE_SETUP_S = 0.02
_SLOW_SETUP_S = {"attention_prefill": 0.05, "sampling": 0.03}
_KERNELS = {"gemm fp8": 2, "grouped_gemm": 1, "attention_prefill": 2, "attention_decode": 1, "sampling": 3}
"""Kernels that measure one point; most fused operations have two."""
_RUNS_S = 0.02
_LEAST_RUNS = 9
_KV_BYTES = {"bf16": 2, "fp16": 2, "fp8": 1}


@dataclass(frozen=True)
class Speed:
    """What a device sustains: FLOP/s per number format (bf16 for those it lacks), bytes/s of its memory and
    links."""

    flops_per_s: Mapping[str, float]
    bytes_per_s: float
    host_bytes_per_s: float = 2e10

    def least_s(self, point: PlanPoint) -> float:
        """The roofline of one run."""
        flops, moved = work(point)
        dtype = point.shape.get("dtype", "bf16") if "gemm" in point.op else "bf16"
        peak = self.flops_per_s.get(str(dtype), self.flops_per_s["bf16"])
        link = self.host_bytes_per_s if point.op in ("copy_h2d", "copy_d2h") else self.bytes_per_s
        return max(flops / peak, moved / link, 2e-6)


@dataclass
class Pace:
    """Learns from what points took how long the next ones will."""

    speed: Speed
    _seen: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    """(op, kernel) -> smoothed seconds of set-up, and of a run over its roofline"""

    def measure_s(self, point: PlanPoint, kernel: str) -> float:
        """Expected seconds to measure a point with a kernel."""
        setup, slow = self._seen.get((point.op, kernel), (_setup_s(point), 2.0))
        return setup + _timed_s(self.speed.least_s(point) * slow)

    def learn(self, point: PlanPoint, kernel: str, took_s: float, time_s: float) -> None:
        """A point took took_s in all, and one run of it time_s."""
        setup = max(took_s - _timed_s(time_s), 0.0)
        slow = time_s / self.speed.least_s(point)
        known = self._seen.get((point.op, kernel))
        if known is not None:
            setup, slow = 0.8 * known[0] + 0.2 * setup, 0.8 * known[1] + 0.2 * slow
        self._seen[point.op, kernel] = (setup, slow)


def plan_s(point: PlanPoint, speed: Speed) -> float:
    """Seconds that all kernels of a point are expected to take, before anything was seen."""
    each = _setup_s(point) + _timed_s(2 * speed.least_s(point))
    name = f"{point.op} {point.shape.get('dtype')}" if point.op == "gemm" else point.op
    fused = 2 if "bytes" in point.shape and "rows" in point.detail else 1
    return _KERNELS.get(name, fused) * each


def work(point: PlanPoint) -> tuple[float, float]:
    """(FLOPs, bytes) of one run, as sim/models/operations.py counts them."""
    op = point.op
    if op == "gemm":
        m, n, k = (point.number(name) for name in ("m", "n", "k"))
        return 2.0 * m * n * k, n * k * _weight_bytes(point) + 2.0 * m * (n + k)
    if op == "grouped_gemm":
        m, n, k, experts, picks = (point.number(name) for name in ("m", "n", "k", "experts", "experts_per_token"))
        touched = experts * (1.0 - (1.0 - picks / experts) ** m)
        return 2.0 * m * picks * n * k, touched * n * k * _weight_bytes(point) + 2.0 * m * picks * (n + k)
    if op in ("attention_prefill", "attention_decode"):
        heads, kv_heads, dim = (point.number(name) for name in ("heads", "kv_heads", "head_dim"))
        context = point.number("context_tokens")
        if op == "attention_prefill":
            rows = point.number("new_tokens")
            pairs, keys = rows * context + rows * (rows + 1) / 2, context + rows
        else:
            rows = point.number("batch")
            pairs = keys = rows * context
        moved = 4.0 * rows * heads * dim + 2.0 * keys * kv_heads * dim * _KV_BYTES[point.dtype]
        return 4.0 * heads * dim * pairs, moved
    if op == "copy_d2d":
        return 0.0, 2.0 * point.number("bytes")
    if "bytes" in point.shape:
        return 0.0, float(point.number("bytes"))
    return 0.0, 2e7 * point.number("m")  # launches and the host's step: some microseconds each


def _weight_bytes(point: PlanPoint) -> float:
    return 1.0 if point.dtype == "fp8" else 2.0


def _setup_s(point: PlanPoint) -> float:
    if point.op in ("all_reduce", "all_gather", "send_recv"):
        return _COLLECTIVE_SETUP_S
    return _SLOW_SETUP_S.get(point.op, _SETUP_S)


def _timed_s(time_s: float) -> float:
    """Runs are repeated for some milliseconds, and a least number of times."""
    return max(_RUNS_S, min(_LEAST_RUNS * time_s, max(0.5, 4 * time_s)))
