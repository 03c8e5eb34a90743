"""The time of an operation from a device's datasheet: the slower of computing and moving, derated."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.hardware import Profile
from sim.latency.collectives import collective_s
from sim.models.operations import Amount, Operation, distinct_experts


def seconds(operation: Operation, profile: Profile) -> Amount:
    """Seconds of one run of `operation`: one per step if its amounts are arrays.

    max(flops / sustained FLOP/s, bytes / sustained bytes/s) + the device's kernel latency; collectives as in
    sim/latency/collectives.py.
    """
    return roof(operation, profile) + profile.kernel_latency_s


def roof(operation: Operation, profile: Profile) -> Amount:
    """The same without the kernel latency."""
    if operation.kind in ("all_reduce", "all_gather"):
        return collective_s(operation, profile)
    compute, memory = sustained(operation, profile)
    moving: Amount = operation.bytes / memory
    if compute is None:
        return moving
    if operation.kind == "grouped_gemm":
        return _grouped(operation, operation.flops / compute, moving)
    return larger(operation.flops / compute, moving)


_EXPERT_TILE_ROWS = 128


def _grouped(operation: Operation, computing: Amount, moving: Amount) -> Amount:
    """The fused kernel of a mixture: experts' rows fill whole tiles, and loading hides behind computing in part.

    Half a tile is lost to each expert in use, of tiles no larger than its rows ask for: vLLM's tuned
    configurations have 16 to 128 rows. The two times add up as the sides of a right angle; that and the share of
    the peak fit the prefill steps of one Mixtral run (see docs/accuracy.md).
    """
    touched: Any = distinct_experts(operation.experts, operation.experts_per_token, operation.m)
    asked: Any = operation.m * operation.experts_per_token
    lost = np.minimum(touched * (_EXPERT_TILE_ROWS / 2), asked / 2)
    tiled = computing * (1.0 + lost / asked)
    time: Amount = np.sqrt(tiled * tiled + moving * moving)
    return time if isinstance(moving, np.ndarray) else float(time)


def sustained(operation: Operation, profile: Profile) -> tuple[float | None, float]:
    """(FLOP/s or None, bytes/s) that the device sustains for this kind of operation."""
    shares, memory = profile.derates, profile.memory_bandwidth_bytes_per_s
    if operation.kind in ("gemm", "grouped_gemm", "lora"):
        share = shares.gemm_flops
        if operation.kind == "grouped_gemm" and shares.grouped_gemm_flops is not None:
            share = shares.grouped_gemm_flops
        return profile.peak(operation.compute) * share, memory * shares.gemm_bandwidth
    if operation.kind in ("attention_prefill", "attention_decode"):
        # Attention computes in bf16 whatever the format of the cache.
        return profile.peak("bf16") * shares.attention_flops, memory * shares.decode_attention_bandwidth
    if operation.kind == "elementwise":
        return None, memory * shares.elementwise_bandwidth
    raise ValueError(f"no roofline for operation kind {operation.kind!r}")


def larger(a: Amount, b: Amount) -> Amount:
    """The larger of two amounts, element by element."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        result: NDArray[Any] = np.maximum(a, b)
        return result
    return max(a, b)
