"""How full the engines ran: batch, queue, KV cache, arithmetic and bandwidth, and what that cost."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.metrics.context import Columns, Floats, RunContext
from sim.metrics.fleet import held_s, of_replica
from sim.metrics.gpu_time import busy_s
from sim.metrics.numbers import exact_sum, ratio
from sim.metrics.series import peak, requests_between, system_intervals


def engine_load(requests: Columns, steps: Columns, context: RunContext) -> dict[str, Any]:
    """Batch, queue and KV cache over the whole run, warm-up included.

    `batch_size_mean` is requests seated on a replica while it is busy, `kv_occupancy_mean` the share
    of its KV blocks in use likewise, `kv_unused_share` the share of the room in these that holds no token;
    `queue_depth_mean` is requests arrived and not seated anywhere (preempted ones included) over the makespan.
    """
    duration = steps["end_s"] - steps["start_s"]
    busy = busy_s(steps)
    step_count = int(steps["steps"].sum())
    seated = exact_sum(steps["running"] * duration)
    block_size = of_replica(context.replicas, "block_size", steps)
    kv_capacity = of_replica(context.replicas, "kv_blocks", steps)
    kv_blocks = kv_blocks_mean(steps, context) * duration
    tokens = int(((steps["prefill_tokens"] + steps["decodes"]) * steps["steps"]).sum())
    arrival, leave = system_intervals(requests, context.makespan_s)
    until = np.array([0.0, max(context.makespan_s, 0.0)])
    in_system = float(requests_between(arrival, leave, until)[0])
    waiting = peak(
        (arrival, 1),
        (leave, -1),
        (steps["start_s"], -steps["running"]),
        (steps["end_s"], steps["running"]),
    )
    return {
        "engine_steps": step_count,
        "tokens_per_step_mean": ratio(tokens, step_count),
        "batch_size_mean": ratio(seated, busy),
        "batch_size_peak": int(steps["running"].max(initial=0)),
        "queue_depth_mean": ratio(max(0.0, in_system - seated), context.makespan_s),
        "queue_depth_peak": waiting,
        "kv_occupancy_mean": ratio(exact_sum(kv_blocks), exact_sum(kv_capacity * duration)),
        "kv_occupancy_peak": float((steps["kv_used_blocks"] / kv_capacity).max(initial=0.0)),
        "kv_unused_share": 1.0 - ratio(exact_sum(kv_tokens_mean(steps) * duration), exact_sum(kv_blocks * block_size)),
        "kv_blocks_per_replica": _same(context.replicas["kv_blocks"]),
        "block_size": _same(context.replicas["block_size"]),
        "preemptions": int(requests["preemptions"].sum()),
        "preempted_requests": int((requests["preemptions"] > 0).sum()),
        "recomputed_tokens": int(steps["recomputed_tokens"].sum()),
        "kv_transfers": kv_transfers(context),
        "prefix_cache_hit_rate": prefix_cache_hit_rate(requests),
        "extrapolated_time_fraction": ratio(exact_sum(duration[steps["extrapolated"].astype(bool)]), busy),
    }


def _same(column: NDArray[Any]) -> int | None:
    """The value that all replicas have, None where they differ."""
    values = np.unique(column)
    return int(values[0]) if len(values) == 1 else None


def kv_blocks_mean(steps: Columns, context: RunContext) -> Floats:
    """Mean KV blocks held during each row, from the count at its end.

    A row of k decode steps adds one token a step to each request, so its requests held on average
    decodes * (k - 1) / 2 tokens less than at the end.
    """
    per_block = of_replica(context.replicas, "kv_grows", steps) / of_replica(context.replicas, "block_size", steps)
    growing = steps["decodes"] * (steps["steps"] - 1) / 2 * per_block
    mean: Floats = np.maximum(steps["kv_used_blocks"] - growing, 0.0)
    return mean


def kv_tokens_mean(steps: Columns) -> Floats:
    """Mean KV tokens in those blocks during each row, from the count at its end."""
    mean: Floats = steps["kv_tokens"] - steps["decodes"] * (steps["steps"] - 1) / 2
    return mean


def kv_transfers(context: RunContext) -> dict[str, int] | None:
    """Tokens whose KV moved between GPU and host, whole blocks counted, over all replicas; None where none can.

    `host_hit_tokens` and `disk_hit_tokens` are prefixes that were loaded instead of computed, `kept_tokens` went to
    the host when the GPU evicted them. `recomputed_instead` preemptions found no room in the swap space.
    """
    if "swapped_out_tokens" not in context.counters:
        return None
    return {name: n for name, n in context.counters.items() if name.endswith("_tokens") or name == "recomputed_instead"}


def adapters(requests: Columns, context: RunContext) -> dict[str, int] | None:
    """How many LoRA adapters were wanted, and how often one was copied to a GPU and read from disk; None without."""
    counts = context.counters
    if "adapter_loads" not in counts:
        return None
    wanted = np.unique(requests["adapter"]) if "adapter" in requests else np.array([])
    return {
        "adapters": int(np.sum(wanted != "")),
        "loads": counts["adapter_loads"],
        "disk_loads": counts["adapter_disk_loads"],
    }


def prefix_cache_hit_rate(requests: Columns) -> float:
    """Share of the prompt tokens of admitted requests that the prefix cache already held."""
    admitted = ~np.isnan(requests["scheduled_s"])
    hits = int(requests["cached_tokens"][admitted].sum())
    return ratio(hits, int(requests["prompt_tokens"][admitted].sum()))


def model_utilisation(steps: Columns, context: RunContext) -> dict[str, float]:
    """Model FLOP/s utilisation and memory-bandwidth utilisation, as shares of the GPUs' peaks.

    `_busy` divides by the time that steps were running, `_makespan` by the whole run. NaN without
    peaks or without the work of each row.
    """
    result = {}
    replicas, lives = context.replicas, context.lives
    busy = (steps["end_s"] - steps["start_s"]) * of_replica(replicas, "gpus", steps)
    held = held_s(lives, of_replica(replicas, "gpus", lives))
    for name, work, column in (
        ("mfu", context.step_flops, "peak_flops"),
        ("mbu", context.step_bytes, "peak_bytes_per_s"),
    ):
        done = math.nan if work is None else exact_sum(work)
        result[f"{name}_busy"] = ratio(done, exact_sum(busy * of_replica(replicas, column, steps)))
        result[f"{name}_makespan"] = ratio(done, exact_sum(held * of_replica(replicas, column, lives)))
    return result


def cost(requests: Columns, context: RunContext) -> dict[str, float | None]:
    """GPU-hours of the whole run, and their price per million output tokens and per 1000 finished requests.

    GPUs are paid for as long as they are held, idle or not (all of them from time 0 to the makespan unless the
    cluster changes), and every generated token counts, measured or not. The prices are None when a GPU has none.
    """
    lives = context.lives
    held_hours = held_s(lives, of_replica(context.replicas, "gpus", lives)) / 3600
    hours = exact_sum(held_hours)
    usd = exact_sum(held_hours * of_replica(context.replicas, "price_usd_per_gpu_hour", lives))
    if math.isnan(usd):
        unknown = dict.fromkeys(("cost_usd", "usd_per_million_output_tokens", "usd_per_1k_requests"))
        return {"gpu_hours": hours} | unknown
    tokens = int(requests["generated_tokens"].sum())
    finished = int((requests["status"] == "finished").sum())
    return {
        "gpu_hours": hours,
        "cost_usd": usd,
        "usd_per_million_output_tokens": ratio(usd, tokens / 1e6),
        "usd_per_1k_requests": ratio(usd, finished / 1e3),
    }
