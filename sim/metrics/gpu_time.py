"""Where GPU time went: every second of every GPU in exactly one bucket (INV-4)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.metrics.context import Columns, Floats, RunContext
from sim.metrics.invariants import InvariantError
from sim.metrics.numbers import exact_sum, ratio

BUCKETS = (
    "prefill", "decode", "recomputed", "padding", "communication", "host", "transfer", "window", "starved",
)  # fmt: skip
"""useful prefill, useful decode, tokens computed again after preemption, rows computed for nobody (of CUDA graphs
and of static batches), collectives, host time the GPU waits for, KV that moves between GPU and host, idle while
requests are held back to make a larger batch, and idle with nothing to run."""

_TOLERANCE = 1e-9


def gpu_time(steps: Columns, context: RunContext) -> dict[str, float]:
    """GPU-seconds per bucket of BUCKETS, over all GPUs from time 0 to the makespan.

    A row of the steps table lasts end_s - start_s; its host, communication and padding time are
    given per step. What is left is GPU work, split among prefill, decode, recomputed and padding tokens in
    proportion to the tokens computed (a mixed step runs its linear layers once over all of them).
    Time outside the rows is starved, but for the window before a row. Raises InvariantError citing
    INV-4 if rows overlap, a row's parts exceed it, or the buckets do not add up to GPUs * makespan.
    """
    duration = steps["end_s"] - steps["start_s"]
    count = steps["steps"]
    host, comm, padding = (steps[name] * count for name in ("host_s", "comm_s", "padding_s"))
    transfer = steps["transfer_s"]
    work = duration - host - comm - padding - transfer
    _refuse(work < -_TOLERANCE * duration, steps, "host, communication, transfer and padding exceed the step's time")
    tokens = (steps["prefill_tokens"] + steps["decodes"] + steps["padding_tokens"]) * count
    per_token = np.divide(work, tokens, out=np.zeros(len(work)), where=tokens > 0)
    _refuse((tokens == 0) & (work > _TOLERANCE * duration), steps, "GPU work without a token")
    prefilled, decoded = steps["prefill_tokens"] * count, steps["decodes"] * count
    again = steps["recomputed_tokens"]
    _refuse(again > prefilled + decoded, steps, "more tokens recomputed than computed")
    again_decoding = np.maximum(again - prefilled, 0)  # the last of them may be alone in a decode-like chunk
    per_replica_s = {
        "prefill": exact_sum(per_token * (prefilled - again + again_decoding)),
        "decode": exact_sum(per_token * (decoded - again_decoding)),
        "recomputed": exact_sum(per_token * again),
        "padding": exact_sum(padding) + exact_sum(per_token * (steps["padding_tokens"] * count)),
        "communication": exact_sum(comm),
        "host": exact_sum(host),
        "transfer": exact_sum(transfer),
        "window": exact_sum(steps["window_s"]),
        "starved": exact_sum(_idle(steps, context)) - exact_sum(steps["window_s"]),
    }
    seconds = {name: value * context.gpus_per_replica for name, value in per_replica_s.items()}
    check_gpu_time(seconds, context)
    return seconds


def check_gpu_time(seconds: dict[str, float], context: RunContext) -> None:
    """Raise InvariantError citing INV-4 unless the buckets are >= 0 and sum to GPUs * makespan (1e-9)."""
    whole = context.gpus * context.makespan_s
    total = sum(seconds.values())
    slack = _TOLERANCE * max(whole, abs(total))
    if abs(total - whole) > slack:
        raise InvariantError(
            f"INV-4: GPU time adds up to {total!r} GPU-seconds, but {context.gpus} GPUs ran for "
            f"{context.makespan_s!r} s, which is {whole!r}"
        )
    for name, value in seconds.items():
        if value < -slack:
            raise InvariantError(f"INV-4: the {name} bucket holds {value!r} GPU-seconds, less than none")


def busy_s(steps: Columns) -> float:
    """Seconds during which a replica had a step running, summed over replicas (not GPUs)."""
    return exact_sum(steps["end_s"] - steps["start_s"])


def fractions(seconds: dict[str, float]) -> dict[str, float]:
    """Each bucket as a share of all GPU time, NaN for a run that took no time."""
    total = sum(seconds.values())
    return {name: ratio(value, total) for name, value in seconds.items()}


def _idle(steps: Columns, context: RunContext) -> Floats:
    """Every gap between rows of one replica, and before its first and after its last, in seconds."""
    order = np.lexsort((steps["start_s"], steps["replica"]))
    replica, start, end = (steps[name][order] for name in ("replica", "start_s", "end_s"))
    first = np.ones(len(order), dtype=bool)
    first[1:] = replica[1:] != replica[:-1]
    last = np.roll(first, -1)
    gap_before = start - np.where(first, 0.0, np.roll(end, 1))
    gap_after = (context.makespan_s - end)[last]
    slack = -_TOLERANCE * max(context.makespan_s, 1.0)
    _refuse(gap_before < slack, {n: c[order] for n, c in steps.items()}, "rows of one replica overlap")
    if (gap_after < slack).any():
        raise InvariantError(f"INV-4: a step ends after the makespan of {context.makespan_s!r} s")
    unused = context.replicas - int(first.sum())
    if unused < 0:
        raise InvariantError(f"INV-4: steps of {int(first.sum())} replicas, but there are {context.replicas}")
    return np.concatenate([gap_before, gap_after, np.full(unused, context.makespan_s)])


def _refuse(wrong: NDArray[Any], steps: Columns, what: str) -> None:
    rows = np.flatnonzero(wrong)
    if rows.size:
        row = int(rows[0])
        raise InvariantError(f"INV-4: {what}, first on replica {steps['replica'][row]} at {steps['start_s'][row]!r} s")
