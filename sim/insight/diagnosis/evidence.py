"""What a run's tables say about each bottleneck, in a sentence with its figures."""

from typing import Any

import numpy as np

from sim.insight.diagnosis.change import BATCHING, ENGINE, IDLE, KV_MEMORY, LATENCY, SCHEDULING, SINGLE_NODE
from sim.metrics import Columns
from sim.metrics.fleet import of_replica
from sim.metrics.series import sent_s, waiting_ends
from sim.report.words import count, milliseconds, number, percent
from sim.resolve import Cluster
from sim.run import Result

_FULL = 0.97
"""KV memory of which so much is taken has no room for most requests."""


def evidence(result: Result, cluster: Cluster) -> dict[str, str]:
    """One sentence for each bottleneck."""
    summary: dict[str, Any] = result.summary
    time = summary["gpu_time"]["fraction"]
    causes = waiting_by_cause(result.record.requests, result.record.steps, result.record.replicas, cluster)
    seats = sum(setup.limits.max_num_seqs for setup in cluster.pools.values()) // len(cluster.pools)
    missed = summary["slo_attainment"] or {}
    recomputed = summary["recomputed_tokens"]
    useful = (time["prefill"] or 0.0) + (time["decode"] or 0.0)
    plain, mixed = step_times_ms(result.record.steps)
    return {
        BATCHING: (
            f"{number(summary['batch_size_mean'])} requests in a batch of up to {seats}; "
            f"{percent(time['padding'] + time['window'])} of GPU time went into rows for nobody or into waiting "
            f"for a batch; {percent(causes['seats'])} of the waiting was for a seat"
        ),
        IDLE: f"GPUs had nothing to run {percent(time['starved'])} of the time; useful work took {percent(useful)}",
        KV_MEMORY: (
            f"KV memory {percent(summary['kv_occupancy_mean'])} full on average and "
            f"{percent(summary['kv_occupancy_peak'])} at most; {count(summary['preemptions'])} preemptions, "
            f"{count(recomputed)} tokens computed again; {percent(causes['kv'])} of the waiting was for KV blocks"
        ),
        LATENCY: (
            "; ".join(f"{percent(1 - share)} miss the {name} target" for name, share in missed.items() if name != "all")
            + f"; a decode step takes {milliseconds(plain)}, with a prefill in it {milliseconds(mixed)}"
        ),
        SCHEDULING: (
            f"requests wait {milliseconds(summary['mean_queue_wait_ms'])} on average, "
            f"{milliseconds(summary['p99_queue_wait_ms'])} at p99; {_skew(result)}"
        ),
        SINGLE_NODE: (
            f"GPUs do useful work {percent(useful)} of the time"
            + (", and the queue grows to the end" if summary["saturated"] else "")
        ),
        ENGINE: f"GPUs wait for the host {percent(time['host'])} of the time",
    }


def waiting_by_cause(requests: Columns, steps: Columns, replicas: Columns, cluster: Cluster) -> dict[str, float]:
    """Share of all waiting, in request-seconds, by what the replica lacked: seats, kv, or neither (budget).

    At the start of each step, those who wait at its replica wait for a seat if its batch is full, for KV blocks if
    nearly all of its are taken, and otherwise for room in a step.
    """
    totals = dict.fromkeys(("seats", "kv", "budget"), 0.0)
    seats = np.array([setup.limits.max_num_seqs for setup in cluster.pools.values()])[replicas["pool"]]
    begin, end = sent_s(requests), waiting_ends(requests)
    for replica in np.unique(steps["replica"]).tolist():
        rows = steps["replica"] == replica
        mine = requests["replica"] == replica
        start, lasts = steps["start_s"][rows], (steps["end_s"] - steps["start_s"])[rows]
        come = np.searchsorted(np.sort(begin[mine]), start, side="right")
        gone = np.searchsorted(np.sort(end[mine]), start, side="right")
        waiting = np.maximum(come - gone, 0) * lasts
        full = steps["running"][rows] >= seats[replica]
        taken = (steps["kv_used_blocks"] / of_replica(replicas, "kv_blocks", steps))[rows] >= _FULL
        totals["seats"] += float(waiting[full].sum())
        totals["kv"] += float(waiting[~full & taken].sum())
        totals["budget"] += float(waiting[~full & ~taken].sum())
    whole = sum(totals.values())
    return {name: value / whole if whole else 0.0 for name, value in totals.items()}


def step_times_ms(steps: Columns) -> tuple[float, float]:
    """Mean duration of a step that only decodes, and of one that decodes with a prefill in it; NaN if there is none."""
    lasts = steps["end_s"] - steps["start_s"]
    both = (steps["decodes"] > 0) & (steps["prefills"] > 0)
    alone = (steps["decodes"] > 0) & (steps["prefills"] == 0)
    times = [lasts[rows].sum() / steps["steps"][rows].sum() if rows.any() else np.nan for rows in (alone, both)]
    return float(times[0]) * 1e3, float(times[1]) * 1e3


def _skew(result: Result) -> str:
    steps, replicas = result.record.steps, len(result.record.replicas["pool"])
    if replicas < 2:
        return "there is one replica"
    busy = np.bincount(steps["replica"], steps["end_s"] - steps["start_s"], minlength=replicas)
    most, least = (float(one) / result.record.makespan_s for one in (busy.max(), busy.min()))
    return f"the busiest replica works {percent(most)} of the time, the idlest {percent(least)}"
