"""Which GPUs were held when, and what of each replica a row of the steps table needs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.metrics.context import Columns, Floats
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
    """The most GPUs that were held at one time."""
    gpus = of_replica(replicas, "gpus", lives)
    times = np.concatenate((lives["end_s"], lives["start_s"]))  # who gives back at a time comes first
    change = np.concatenate((-gpus, gpus))
    order = np.argsort(times, kind="stable")
    return int(np.cumsum(change[order]).max(initial=0))
