"""Where GPU time went, over time."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.metrics.context import Columns, Floats, RunContext
from sim.metrics.fleet import held_between, of_replica
from sim.metrics.gpu_time import BUCKETS, row_parts
from sim.metrics.series import RowIntegrator
from sim.record import LIFE


def gpu_time_series(steps: Columns, context: RunContext, edges: Floats) -> dict[str, Floats]:
    """GPU-seconds of each of BUCKETS between every two of `edges` (seconds, rising): over all of them, `gpu_time`'s.

    What a row took is spread evenly over it. Rounding, and a bubble that is less than nothing in a short time, are
    told as none.
    """
    gpus = of_replica(context.replicas, "gpus", steps)
    rows = RowIntegrator(steps, edges)
    spent = {
        name: rows.amounts(sum((part * gpus for part in parts), np.zeros(len(gpus))))
        for name, parts in row_parts(steps).items()
    }
    spent["window"] = _between(steps["replica"], steps["start_s"] - steps["window_s"], steps["start_s"], context, edges)
    waits = context.waits
    ends = np.maximum(np.minimum(waits["end_s"], context.makespan_s), waits["start_s"])
    spent["transfer"] += _between(waits["replica"], waits["start_s"], ends, context, edges)
    lives = context.lives
    held = of_replica(context.replicas, "gpus", lives).astype(np.float64)
    for state in ("loading", "down"):
        spent[state] = held_between(lives, np.where(lives["state"] == LIFE.index(state), held, 0.0), edges)
    spent["starved"] = held_between(lives, held, edges) - sum(spent.values(), np.zeros(len(edges) - 1))
    return {name: np.maximum(spent[name], 0.0) for name in BUCKETS}


def _between(replica: NDArray[Any], begin: Floats, end: Floats, context: RunContext, edges: Floats) -> Floats:
    """GPU-seconds of stretches of replicas; those of one do not overlap."""
    some = end > begin
    table = {"replica": replica[some], "start_s": begin[some], "end_s": end[some], "steps": np.ones(int(some.sum()))}
    lasting = (table["end_s"] - table["start_s"]) * of_replica(context.replicas, "gpus", table)
    return RowIntegrator(table, edges).amounts(lasting)
