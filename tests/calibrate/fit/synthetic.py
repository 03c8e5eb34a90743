"""A made-up GPU whose true times are known: its raw table, as a measurement with noise would write it."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from calibrate.gpu.planfile import parse_plan
from calibrate.planning import Scope, make_plan
from calibrate.rawpoints import RawPoint, append, pack
from sim import models

PEAK, BANDWIDTH, LATENCY_S = 7.0e14, 2.9e12, 2.5e-6
"""What it sustains."""
HEADS = {"dtype": "bf16", "heads": 32, "kv_heads": 8, "head_dim": 128}
SCOPE = Scope(
    tensor_parallel=(1,),
    weight_dtypes=("bf16",),
    kv_dtypes=("bf16",),
    max_tokens=4096,
    max_context_tokens=16384,
    max_batch=128,
    generic=False,
)


def true_s(row: RawPoint) -> float:
    """Seconds: computing and moving one after the other where both matter, and a start."""
    value: Callable[[str], float] = lambda name: float(getattr(row, name))  # noqa: E731
    flops = moved = 0.0
    if row.op == "gemm":
        m, n, k = (value(name) for name in "mnk")
        flops, moved = 2 * m * n * k, 2 * (n * k + m * k + m * n)
    elif row.op.startswith("attention"):
        heads, kv_heads, dim, context = (value(name) for name in ("heads", "kv_heads", "head_dim", "context_tokens"))
        if row.op == "attention_prefill":
            new = value("new_tokens")
            flops = 4 * heads * dim * new * (context + (new + 1) / 2) * 1.6
            moved = 4 * new * heads * dim + 4 * (context + new) * kv_heads * dim
        else:
            batch = value("batch")
            flops, moved = 4 * heads * dim * batch * context, 4 * batch * (heads + context * kv_heads) * dim
    elif row.bytes is not None:
        moved = value("bytes")
    else:
        return 5e-6 * value("m")
    computing, moving = flops / PEAK, moved / BANDWIDTH
    return float(LATENCY_S + (computing**4 + moving**4) ** 0.25)


def rows(noise: float = 0.01, seed: int = 5, scope: Scope = SCOPE) -> list[RawPoint]:
    """Every point of a plan for Llama 3.1 8B, its time off by `noise` (standard deviation)."""
    rng = np.random.default_rng(seed)
    plan = parse_plan(make_plan([models.load("llama-3.1-8b")], scope), "a plan")
    found = []
    for point in plan.points:
        shape: dict[str, Any] = dict(point.shape)
        row = RawPoint(op=point.op, kernel="made_up", held_out=point.held_out, **shape)
        time_s = true_s(row) * float(1 + noise * rng.standard_normal())
        found.append(replace(row, time_s=time_s, min_s=time_s * 0.98, spread_s=time_s * 0.02, repeats=20))
    return found


def folder(path: Path, points: Iterable[RawPoint], name: str = "NVIDIA H100 80GB HBM3", **facts: Any) -> Path:
    """A folder as `servecast calibrate gpu` leaves it."""
    path.mkdir(parents=True)
    append(path / "raw.csv", points)
    pack(path)
    measured_on = {
        "device": "cuda", "name": name, "torch": "2.13.0", "triton": "3.7", "cuda": "12.8", "gpus": 1,
        "memory_bytes": 85_000_000_000, "l2_bytes": 50 * 2**20, "driver": "570.1", "date": "2026-11-25", "seconds": 1.0,
        "why": [], "not_measured": {"all_reduce (2 ranks)": "needs 2 GPUs, and there are 1"},
        "runs": [{"before": {"sm_clock_mhz": 1980, "power_limit_w": 700}, "after": {"sm_clock_mhz": 1830}}],
    }  # fmt: skip
    (path / "measured_on.json").write_text(json.dumps({**measured_on, **facts}))
    return path
