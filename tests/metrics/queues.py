"""Record tables of known systems, to test metrics against: a FIFO single-server queue per replica."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sim.metrics import Columns, RunContext
from sim.metrics.context import UNKNOWN, uniform


@dataclass(frozen=True)
class Tables:
    requests: Columns
    steps: Columns
    bins: NDArray[np.int64]
    counts: NDArray[np.int64]
    context: RunContext = field(repr=False)


def itl_histogram(gaps: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    bins, counts = np.unique(np.asarray(gaps, dtype=np.float64).view(np.int64) >> 43, return_counts=True)
    return bins, counts.astype(np.int64)


def requests_table(
    arrival: NDArray[np.float64],
    scheduled: NDArray[np.float64],
    first: NDArray[np.float64],
    finish: NDArray[np.float64],
    prompt: NDArray[np.int64] | int = 10,
    generated: NDArray[np.int64] | int = 1,
    replica: NDArray[np.int32] | int = 0,
) -> dict[str, NDArray]:
    n = len(arrival)
    return {
        "id": np.arange(n),
        "arrival_s": np.asarray(arrival, dtype=np.float64),
        "prompt_tokens": np.broadcast_to(np.int64(prompt), n).copy(),
        "output_tokens": np.broadcast_to(np.int64(generated), n).copy(),
        "generated_tokens": np.broadcast_to(np.int64(generated), n).copy(),
        "replica": np.broadcast_to(np.int32(replica), n).copy(),
        "scheduled_s": np.asarray(scheduled, dtype=np.float64),
        "first_token_s": np.asarray(first, dtype=np.float64),
        "finish_s": np.asarray(finish, dtype=np.float64),
        "cached_tokens": np.zeros(n, dtype=np.int64),
        "preemptions": np.zeros(n, dtype=np.int32),
        "requeues": np.zeros(n, dtype=np.int32),
        "recomputed_tokens": np.zeros(n, dtype=np.int64),
        "priority": np.zeros(n, dtype=np.int64),
        "tenant": np.zeros(n, dtype=np.int32),
        "status": np.full(n, "finished"),
        "measured": np.ones(n, dtype=bool),
    }


def steps_table(rows: int, **columns: object) -> dict[str, NDArray]:
    """A steps table of `rows` rows: zeros, one step a row, and the columns given."""
    whole = ("replica", "prefills", "prefill_tokens", "decodes", "context_tokens", "attention_pairs")
    whole += ("prefill_context_tokens", "sampled", "recomputed_tokens", "preempted", "running")
    whole += ("kv_used_blocks", "kv_tokens", "padding_tokens")
    table: dict[str, NDArray] = {name: np.zeros(rows, dtype=np.int64) for name in whole}
    times = ("start_s", "end_s", "host_s", "comm_s", "padding_s", "window_s", "transfer_s", "bubble_s")
    table |= {name: np.zeros(rows) for name in times}
    table |= {"steps": np.ones(rows, dtype=np.int64), "extrapolated": np.zeros(rows, dtype=bool)}
    for name, values in columns.items():
        table[name] = np.broadcast_to(np.asarray(values, dtype=table[name].dtype), rows).copy()
    return table


def context(makespan_s: float, **facts: object) -> RunContext:
    """One replica, or as many as told, with these facts of the GPU and of the run."""
    gpu: dict = {"replicas": 1, "kv_blocks": 1000, "block_size": 16}
    gpu |= {name: facts.pop(name) for name in (*gpu, "gpus", *UNKNOWN) if name in facts}
    return RunContext(**uniform(makespan_s=makespan_s, **gpu), **facts)


def fifo(arrival: NDArray[np.float64], service: NDArray[np.float64], decode_steps: int = 10) -> Tables:
    """One server, first come first served, one request at a time.

    A request takes a tenth of its service for a prefill of 10 tokens, and the rest for
    `decode_steps` equal decode steps, recorded as one row.
    """
    # Lindley: start_i = max(arrival_i, finish_{i-1}), unrolled as a running maximum
    worked = np.cumsum(service)
    start = np.maximum.accumulate(arrival - (worked - service)) + (worked - service)
    start = np.maximum(start, arrival)
    finish = start + service
    start[1:] = np.maximum(start[1:], finish[:-1])
    first = start + service / 10
    n = len(arrival)
    requests = requests_table(arrival, start, first, finish, generated=decode_steps + 1)
    steps = steps_table(
        2 * n,
        start_s=np.column_stack([start, first]).ravel(),
        end_s=np.column_stack([first, finish]).ravel(),
        steps=np.tile([1, decode_steps], n),
        prefills=np.tile([1, 0], n),
        prefill_tokens=np.tile([10, 0], n),
        decodes=np.tile([0, 1], n),
        sampled=1,
        running=1,
        kv_used_blocks=np.tile([1, 2], n),
    )
    bins, counts = itl_histogram(np.repeat((finish - first) / decode_steps, decode_steps))
    return Tables(requests, steps, bins, counts, context(float(finish[-1]), kv_blocks=2))


def poisson(rate: float, n: int, seed: int) -> NDArray[np.float64]:
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, n))


def mm1(load: float, n: int, seed: int) -> Tables:
    """M/M/1 with mean service time 1 s."""
    rng = np.random.default_rng((seed, 1))
    return fifo(poisson(load, n, seed), rng.exponential(1.0, n))
