"""Where GPU time went: every second of every GPU in exactly one bucket (INV-4)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.metrics.context import Columns, Floats, RunContext
from sim.metrics.fleet import held_s, of_replica, serving
from sim.metrics.invariants import InvariantError
from sim.metrics.numbers import exact_sum, ratio
from sim.record import LIFE

BUCKETS = (
    "prefill", "decode", "recomputed", "padding", "communication", "host", "transfer", "bubble", "window",
    "starved", "loading", "down",
)  # fmt: skip
"""useful prefill, useful decode, tokens computed again after preemption, rows computed for nobody (of CUDA graphs
and of static batches), collectives, host time the GPU waits for, KV that moves (between GPU and host, or between
replicas while nothing else can run), stages of a pipeline that wait for others, idle while requests are held back to
make a larger batch, idle with nothing to run, held while a replica is not ready to serve, and held while it is out of
order."""

_TOLERANCE = 1e-9


def gpu_time(steps: Columns, context: RunContext, lives: Columns | None = None) -> dict[str, float]:
    """GPU-seconds per bucket of BUCKETS, over all GPUs as long as they were held.

    Time outside the rows is starved, but for the window before a row. `lives` are those of the replicas to look at,
    when it is not all of them. Raises InvariantError citing
    INV-4 if rows overlap, a row's parts exceed it, or the buckets do not add up to the time that GPUs were held.
    """
    known = len(context.replicas["gpus"])
    _refuse(steps["replica"] >= known, steps, f"rows of a replica beyond the {known} that there are")
    gpus = of_replica(context.replicas, "gpus", steps)
    window = exact_sum(steps["window_s"] * gpus)
    lives = context.lives if lives is None else lives
    held = held_s(lives, of_replica(context.replicas, "gpus", lives))
    waiting = _waiting(lives, context)
    seconds = {name: sum(exact_sum(part * gpus) for part in parts) for name, parts in row_parts(steps).items()}
    seconds["transfer"] += waiting
    seconds |= {
        "window": window,
        "starved": exact_sum(_idle(steps, lives, context)) - window - waiting,
        **{state: exact_sum(held[lives["state"] == LIFE.index(state)]) for state in ("loading", "down")},
    }
    check_gpu_time(seconds, exact_sum(held))
    return seconds


def row_parts(steps: Columns) -> dict[str, tuple[Floats, ...]]:
    """Seconds of each row by bucket, for the buckets that lie within rows: each the sum of its columns.

    A row of the steps table lasts end_s - start_s; its host, communication and padding time are
    given per step. What is left is GPU work, split among prefill, decode, recomputed and padding tokens in
    proportion to the tokens computed (a mixed step runs its linear layers once over all of them).
    A bubble may be negative in a row, as a batch begins before the one before it has returned; their sum is not.
    Raises InvariantError citing INV-4 if a row's parts exceed it.
    """
    duration = steps["end_s"] - steps["start_s"]
    count = steps["steps"]
    host, comm, padding = (steps[name] * count for name in ("host_s", "comm_s", "padding_s"))
    transfer, bubble = steps["transfer_s"], steps["bubble_s"]
    work = duration - host - comm - padding - transfer - bubble
    _refuse(work < -_TOLERANCE * duration, steps, "host, communication, transfer and padding exceed the step's time")
    tokens = (steps["prefill_tokens"] + steps["decodes"] + steps["padding_tokens"]) * count
    per_token = np.divide(work, tokens, out=np.zeros(len(work)), where=tokens > 0)
    _refuse((tokens == 0) & (work > _TOLERANCE * duration), steps, "GPU work without a token")
    prefilled, decoded = steps["prefill_tokens"] * count, steps["decodes"] * count
    again = steps["recomputed_tokens"]
    _refuse(again > prefilled + decoded, steps, "more tokens recomputed than computed")
    again_decoding = np.maximum(again - prefilled, 0)  # the last of them may be alone in a decode-like chunk
    return {
        "prefill": (per_token * (prefilled - again + again_decoding),),
        "decode": (per_token * (decoded - again_decoding),),
        "recomputed": (per_token * again,),
        "padding": (padding, per_token * (steps["padding_tokens"] * count)),
        "communication": (comm,),
        "host": (host,),
        "transfer": (transfer,),
        "bubble": (bubble,),
    }


def check_gpu_time(seconds: dict[str, float], whole: float) -> None:
    """Raise InvariantError citing INV-4 unless the buckets are >= 0 and sum to `whole`, the time of all GPUs (1e-9)."""
    total = sum(seconds.values())
    slack = _TOLERANCE * max(whole, abs(total))
    if abs(total - whole) > slack:
        raise InvariantError(f"INV-4: GPU time adds up to {total!r} GPU-seconds, but the GPUs were held for {whole!r}")
    for name, value in seconds.items():
        if value < -slack:
            raise InvariantError(f"INV-4: the {name} bucket holds {value!r} GPU-seconds, less than none")


def _waiting(lives: Columns, context: RunContext) -> float:
    """GPU-seconds in which these replicas waited for KV, up to the makespan."""
    waits = context.waits
    gpus = of_replica(context.replicas, "gpus", waits) * np.isin(waits["replica"], lives["replica"])
    lasting = np.minimum(waits["end_s"], context.makespan_s) - waits["start_s"]
    return exact_sum(np.maximum(lasting, 0.0) * gpus)


def busy_s(steps: Columns) -> float:
    """Seconds during which a replica had a step running, summed over replicas (not GPUs)."""
    return exact_sum(steps["end_s"] - steps["start_s"])


def fractions(seconds: dict[str, float]) -> dict[str, float]:
    """Each bucket as a share of all GPU time, NaN for a run that took no time."""
    total = sum(seconds.values())
    return {name: ratio(value, total) for name, value in seconds.items()}


def _idle(steps: Columns, lives: Columns, context: RunContext) -> Floats:
    """Every gap between rows in a stretch of serving, and before its first and after its last, in GPU-seconds."""
    order = np.lexsort((steps["start_s"], steps["replica"]))
    replica, start, end = (steps[name][order] for name in ("replica", "start_s", "end_s"))
    slack = -_TOLERANCE * max(context.makespan_s, 1.0)
    stretches = serving(lives)
    gpus = of_replica(context.replicas, "gpus", stretches)
    gaps = []
    seen = 0
    for one, begin_s, end_s, weight in zip(
        *(stretches[name].tolist() for name in ("replica", "start_s", "end_s")), gpus.tolist(), strict=True
    ):
        first, last = np.searchsorted(replica, [one, one + 1])
        first, last = first + np.searchsorted(start[first:last], [begin_s, end_s])
        seen += int(last - first)
        mine = np.concatenate((start[first:last], [end_s])) - np.concatenate(([begin_s], end[first:last]))
        wrong = np.flatnonzero(mine < slack)
        if wrong.size == 1 and wrong[0] == last - first:
            raise InvariantError(f"INV-4: a step of replica {one} ends after {end_s!r} s, when it served no more")
        if wrong.size:
            _refuse(np.arange(len(order)) == first + wrong[0], {n: c[order] for n, c in steps.items()}, _OVERLAP)
        gaps.append(mine * weight)
    if seen != len(order):
        raise InvariantError(f"INV-4: {len(order) - seen} rows lie where their replica did not serve")
    return np.concatenate(gaps) if gaps else np.zeros(0)


_OVERLAP = "rows of one replica overlap"


def _refuse(wrong: NDArray[Any], steps: Columns, what: str) -> None:
    rows = np.flatnonzero(wrong)
    if rows.size:
        row = int(rows[0])
        raise InvariantError(f"INV-4: {what}, first on replica {steps['replica'][row]} at {steps['start_s'][row]!r} s")
