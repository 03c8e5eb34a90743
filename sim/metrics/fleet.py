"""Which GPUs were held when, and what of each replica a row of the steps table needs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.metrics.context import Columns, Floats, RunContext
from sim.metrics.numbers import ratio
from sim.record import LIFE

SERVING = LIFE.index("serving")


def of_replica(replicas: Columns, column: str, rows: Columns) -> NDArray[Any]:
    """A column of the replicas table for every row of another table."""
    values: NDArray[Any] = replicas[column][rows["replica"]]
    return values


def serving(lives: Columns) -> Columns:
    """The stretches in which replicas could run steps."""
    mask = lives["state"] == SERVING
    return {name: column[mask] for name, column in lives.items()}


def held_s(lives: Columns, weight: NDArray[Any]) -> Floats:
    """The length of each stretch in seconds times its weight."""
    held: Floats = (lives["end_s"] - lives["start_s"]) * weight
    return held


def held_between(lives: Columns, weight: NDArray[Any], edges: Floats) -> Floats:
    """Weighted seconds of the stretches in each time bucket."""
    total = np.zeros(len(edges))
    for begin, end, each in zip(lives["start_s"].tolist(), lives["end_s"].tolist(), weight.tolist(), strict=True):
        total += np.clip(edges - begin, 0.0, end - begin) * each
    return np.diff(total)


def peak_gpus(replicas: Columns, lives: Columns) -> int:
    """The most GPUs that were held at one time; all, where no time passed."""
    return _peak(lives, of_replica(replicas, "gpus", lives)) if len(lives["replica"]) else int(replicas["gpus"].sum())


def peak_replicas(lives: Columns) -> int:
    """The most replicas that held GPUs at one time."""
    return _peak(lives, np.ones(len(lives["replica"]), np.int64))


def changes(context: RunContext) -> bool:
    """Whether replicas came, went, or were out of order during the run."""
    lives = context.lives
    whole = (lives["state"] == SERVING) & (lives["start_s"] == 0.0) & (lives["end_s"] == context.makespan_s)
    return not whole.all() or len(whole) != len(context.replicas["gpus"])


def fleet(context: RunContext) -> dict[str, Any] | None:
    """What became of the replicas, None where all served all the time.

    Means and extremes are over the makespan: `replicas_held` are those whose GPUs are paid for. `started` and `ended`
    count replicas that came after the start and went before the end, `scale_ups` and `scale_downs` the autoscalers'
    decisions, `requeued` the requests that a crash sent on to another replica, once for each time.
    """
    if not changes(context):
        return None
    lives, makespan_s = context.lives, context.makespan_s
    length = lives["end_s"] - lives["start_s"]
    ids = np.arange(len(context.replicas["gpus"]))
    first, last = np.full(len(ids), np.inf), np.zeros(len(ids))
    np.minimum.at(first, lives["replica"], lives["start_s"])
    np.maximum.at(last, lives["replica"], lives["end_s"])
    there = np.isfinite(first)
    counted = {name: context.counters.get(name, 0) for name in ("crashes", "requeued", "scale_ups", "scale_downs")}
    return {
        "replicas_held_mean": ratio(float(length.sum()), makespan_s),
        "replicas_held_peak": peak_replicas(lives),
        "replicas_serving_mean": ratio(float(length[lives["state"] == SERVING].sum()), makespan_s),
        "started": int((first[there] > 0).sum()),
        "ended": int((last[there] < makespan_s).sum()),
        **counted,
    }


def _peak(lives: Columns, weight: NDArray[Any]) -> int:
    """The highest sum of the weights of stretches that are going on at one time."""
    times = np.concatenate((lives["end_s"], lives["start_s"]))  # who gives back at a time comes first
    change = np.concatenate((-weight, weight))
    order = np.argsort(times, kind="stable")
    return int(np.cumsum(change[order]).max(initial=0))
