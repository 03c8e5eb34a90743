"""The run over time, in a fixed number of buckets, each an exact time-weighted average."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from sim.metrics.context import Columns, Floats, RunContext
from sim.metrics.fleet import changes, held_between, of_replica, serving
from sim.metrics.gpu_time_series import gpu_time_series
from sim.metrics.series import RowIntegrator, requests_between, system_intervals
from sim.metrics.utilisation import kv_blocks_mean

if TYPE_CHECKING:  # heavy
    import pandas as pd

_FEWEST, _MOST = 60, 300
_PER_BUCKET, _FEWEST_OF_ALL = 3, 20


def timeline(requests: Columns, steps: Columns, context: RunContext) -> pd.DataFrame:
    """One row per time bucket; `time_s` is the bucket's start and `width_s` its width.

    Buckets are equal: one second wide, but at most 300 (then wider) and at least 60 (then narrower), and
    with few requests so wide that a bucket has about 3 of them (but at least 20 buckets).
    Rates are amounts in the bucket over its width; queue_depth, running, kv_used_fraction (over all
    replicas, idle ones hold none) and gpu_busy_fraction are time-weighted means, not samples; ttft_p50_s
    and ttft_p99_s are of the requests that arrive in the bucket, NaN where none does. gpus_prefill, gpus_decode and so
    on are how many GPUs each bucket of GPU time took on average; they sum to the GPUs that were held. Where replicas
    come and go there are further columns, time-weighted means of how many: replicas_held, replicas_serving,
    replicas_busy.
    """
    import pandas as pd

    arrival, leave = system_intervals(requests, context.makespan_s)
    horizon_s = max(context.makespan_s, float(requests["arrival_s"].max(initial=0.0)))
    edges = _edges(horizon_s, len(requests["arrival_s"]))
    width = np.diff(edges)
    rows = RowIntegrator(steps, edges)
    duration = steps["end_s"] - steps["start_s"]
    running = rows.amounts(steps["running"] * duration) / width
    in_system = requests_between(arrival, leave, edges) / width
    up = serving(context.lives)
    replicas_up = held_between(up, np.ones(len(up["replica"])), edges)
    capacity = held_between(up, of_replica(context.replicas, "kv_blocks", up), edges)
    kv_used = rows.amounts(kv_blocks_mean(steps, context) * duration)
    busy = rows.amounts(duration)
    fleet = {}
    if changes(context):
        held = held_between(context.lives, np.ones(len(context.lives["replica"])), edges)
        fleet = {"replicas_held": held / width, "replicas_serving": replicas_up / width, "replicas_busy": busy / width}
    return pd.DataFrame(
        {
            "time_s": edges[:-1],
            "width_s": width,
            "arrivals_per_s": np.histogram(requests["arrival_s"], edges)[0] / width,
            "queue_depth": np.maximum(in_system - running, 0.0),
            "running": running,
            "kv_used_fraction": _share(kv_used, capacity),
            "prefill_tokens_per_s": rows.amounts(steps["prefill_tokens"] * steps["steps"]) / width,
            "output_tokens_per_s": rows.counts(steps["sampled"]) / width,
            "gpu_busy_fraction": np.clip(_share(busy, replicas_up), 0.0, 1.0),
            **_ttft_percentiles(requests, edges),
            **{f"gpus_{name}": spent / width for name, spent in gpu_time_series(steps, context, edges).items()},
            **fleet,
        }
    )


def _share(used: Floats, of: Floats) -> Floats:
    """A share of what there was in each bucket; 0 of nothing."""
    return np.divide(used, of, out=np.zeros(len(of)), where=of > 0)


def _edges(horizon_s: float, requests: int) -> Floats:
    if horizon_s <= 0:
        return np.zeros(1)  # nothing ran: no bucket
    count = min(max(math.ceil(horizon_s), _FEWEST), _MOST, max(_FEWEST_OF_ALL, requests // _PER_BUCKET))
    return np.linspace(0.0, horizon_s, count + 1)


def _ttft_percentiles(requests: Columns, edges: Floats) -> Mapping[str, Floats]:
    """Median and 99th percentile TTFT of the requests that arrive in each bucket (numpy's linear rule)."""
    ttft = requests["first_token_s"] - requests["arrival_s"]
    answered = ~np.isnan(ttft)
    buckets = len(edges) - 1
    bucket = np.searchsorted(edges, requests["arrival_s"][answered], side="right") - 1
    bucket = np.minimum(bucket, buckets - 1)
    ttft = ttft[answered]
    order = np.lexsort((ttft, bucket))
    ttft = ttft[order]
    first = np.searchsorted(bucket[order], np.arange(buckets + 1))
    count = np.diff(first)
    result = {}
    for name, share in (("ttft_p50_s", 0.50), ("ttft_p99_s", 0.99)):
        column = np.full(buckets, np.nan)
        some = count > 0
        position = (count[some] - 1) * share
        below = np.floor(position).astype(np.int64)
        low = ttft[first[:-1][some] + below]
        high = ttft[first[:-1][some] + np.minimum(below + 1, count[some] - 1)]
        column[some] = low + (high - low) * (position - below)
        result[name] = column
    return result
