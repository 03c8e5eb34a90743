"""Where GPU time went: over time, replica by replica, and what each part means."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pandas as pd

from sim.export.page import charts
from sim.metrics.gpu_time import row_parts
from sim.report.colours import GPU_TIME

MEANING = {
    "prefill": "computing prompts",
    "decode": "computing answers",
    "recomputed": "again what a preemption threw away",
    "padding": "rows computed for nobody",
    "communication": "collectives between GPUs",
    "host": "waiting for the CPU",
    "transfer": "waiting for KV to move",
    "bubble": "pipeline stages waiting for others",
    "window": "requests held back for a larger batch",
    "starved": "waiting for work",
    "loading": "paid for, not yet serving",
    "down": "out of order",
}


def meaning(buckets: Iterable[str]) -> str:
    """What these buckets of GPU time are, in one line."""
    return "; ".join(f"{name}: {MEANING[name]}" for name in buckets)


def gpu_time_over_time(timeline: pd.DataFrame, key: str) -> Iterator[str]:
    """GPUs by what they do, layer upon layer; nothing for a run of a version that did not tell."""
    known = {name: timeline[f"gpus_{name}"].to_numpy() for name in GPU_TIME if f"gpus_{name}" in timeline}
    whole = sum(values.sum() for values in known.values())
    shown = {name: values for name, values in known.items() if values.sum() > 1e-4 * whole}
    if not shown:
        return
    middle = charts.numbers(timeline["time_s"] + timeline["width_s"] / 2)
    layers = [charts.layer(middle, charts.numbers(shown[n]), n, GPU_TIME[n], "GPUs") for n in shown]
    made = charts.figure("GPU time", layers, "time [s]", "GPUs", hovermode="x unified", yaxis={"rangemode": "tozero"})
    yield charts.chart("Where GPU time went", made, link=key, height=330, note=meaning(shown))


def split_by_replica(steps: pd.DataFrame, until_s: float, there: bool) -> Mapping[int, Mapping[str, float]]:
    """Each replica's time by bucket, as shares of the time until then.

    What lies outside its steps is `starved` if it was `there` all the time, else nobody's.
    """
    columns = {str(name): steps[name].to_numpy() for name in steps}
    parts = row_parts(columns) | {"window": (columns["window_s"],)}
    replicas, place = np.unique(columns["replica"], return_inverse=True)
    spent = {
        name: np.sum([np.bincount(place, weights=part, minlength=len(replicas)) for part in each], axis=0) / until_s
        for name, each in parts.items()
    }
    found: dict[int, dict[str, float]] = {}
    for row, replica in enumerate(replicas.tolist()):
        shares = {name: max(0.0, float(values[row])) for name, values in spent.items()}
        found[replica] = shares | ({"starved": max(0.0, 1.0 - sum(shares.values()))} if there else {})
    return found


def replicas_split(splits: Mapping[int, Mapping[str, float]]) -> str:
    """One bar for each replica, of all its time."""
    rows = {f"replica {replica}": shares for replica, shares in splits.items()}
    shown = {"tickformat": charts.PERCENT, "range": [0, 1]}
    down = {"type": "category", "autorange": "reversed"}
    made = charts.figure("GPU time", charts.gpu_time(rows), barmode="stack", xaxis=shown, yaxis=down)
    return charts.chart("Each replica's time", made, height=120 + 22 * len(rows))
