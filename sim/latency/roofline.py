"""The time of an operation from a device's datasheet: the slower of computing and moving, derated."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.hardware import Profile
from sim.models.operations import Amount, Operation, distinct_experts


def seconds(operation: Operation, profile: Profile) -> Amount:
    """Seconds of one run of `operation`: one per step if its amounts are arrays.

    max(flops / sustained FLOP/s, bytes / sustained bytes/s) + the device's kernel latency; collectives over the
    links of a node, or of the network where the ranks fill more than one node.
    """
    return roof(operation, profile) + profile.kernel_latency_s


def roof(operation: Operation, profile: Profile) -> Amount:
    """The same without the kernel latency."""
    if operation.kind in ("all_reduce", "all_gather"):
        return _collective(operation, profile)
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
    if operation.kind in ("gemm", "grouped_gemm"):
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


_SHOT_BYTES = 8 << 20
_ONE_SHOT_BYTES = {3: 512 << 10, 4: 512 << 10, 5: 256 << 10, 6: 256 << 10, 7: 256 << 10, 8: 256 << 10}


def _collective(operation: Operation, profile: Profile) -> Amount:
    """Small all-reduces inside a node go straight through the peers' memory, as in vLLM; the rest is a ring.

    One shot, every GPU reading (r-1) * bytes: two GPUs always, up to four below 512 KiB, up to eight below
    256 KiB; else two shots of (r-1)/r * bytes each; from 8 MiB on a ring. Source: vLLM,
    csrc/custom_all_reduce.cuh and its max_size.
    """
    ring = _ring(operation, profile)
    ranks, payload = operation.ranks, operation.comm_bytes
    one, two = profile.all_reduce_one_shot_s, profile.all_reduce_two_shot_s
    bandwidth = profile.all_reduce_shot_bandwidth_bytes_per_s
    if one is None or two is None or bandwidth is None:
        return ring
    if operation.kind != "all_reduce" or ranks > profile.gpus_per_node:
        return ring
    two_shots = two + payload * (2 * (ranks - 1) / ranks) / bandwidth
    one_shot = one + payload * (ranks - 1) / bandwidth
    limit = _SHOT_BYTES if ranks == 2 else _ONE_SHOT_BYTES.get(ranks, 0)
    small: Amount = np.where(np.asarray(payload) < limit, one_shot, two_shots)
    time: Amount = np.where(np.asarray(payload) < _SHOT_BYTES, small, ring)
    return time if isinstance(payload, np.ndarray) else float(time)


def _ring(operation: Operation, profile: Profile) -> Amount:
    """A ring: reduce-scatter and all-gather, each of ranks - 1 hops that carry 1/ranks of the bytes.

    all_reduce: 2 (r-1)/r * bytes / bandwidth + 2 (r-1) * latency; all_gather, whose comm_bytes are one rank's
    share: (r-1) * bytes / bandwidth + (r-1) * latency.
    """
    ranks = operation.ranks
    if ranks <= profile.gpus_per_node:
        bandwidth, latency = profile.intra_node_bandwidth_bytes_per_s, profile.intra_node_latency_s
    else:
        bandwidth, latency = profile.inter_node_bandwidth_bytes_per_s, profile.inter_node_latency_s
    bandwidth = bandwidth * profile.derates.link_bandwidth
    hops = 2 * (ranks - 1) if operation.kind == "all_reduce" else ranks - 1
    carried = hops / ranks if operation.kind == "all_reduce" else hops
    time: Amount = operation.comm_bytes * carried / bandwidth + hops * latency
    return time
