"""Single panels of the overview, for notebooks: each draws into given axes, or into a new pyplot figure."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from sim.errors import ServecastError
from sim.report.colours import BLUE
from sim.report.overview import draw_area, draw_distribution, draw_frame, draw_gpu_time

LATENCIES = ("ttft", "tpot", "e2el")


def latency(summary: dict[str, Any], requests: pd.DataFrame, name: str, axes: Axes | None) -> Axes:
    """The share of requests at or under each `ttft`, `tpot` or `e2el`. Raises ServecastError for another name."""
    if name not in LATENCIES:
        raise ServecastError(f"there is no latency {name!r} to draw; known: {', '.join(LATENCIES)}")
    axes = axes or _new(6, 3.2)
    draw_distribution(axes, name, summary, requests)
    return axes


def gpu_time(summary: dict[str, Any], axes: Axes | None) -> Axes:
    """One bar of all GPU-seconds, by what they went to."""
    axes = axes or _new(10, 1.4)
    draw_gpu_time(axes, summary)
    return axes


def over_time(timeline: pd.DataFrame, column: str, axes: Axes | None) -> Axes:
    """One column of the timeline over time. Raises ServecastError for a column that is not there."""
    columns = [name for name in timeline.columns if name not in ("time_s", "width_s")]
    if column not in columns:
        raise ServecastError(f"the timeline has no column {column!r}; known: {', '.join(columns)}")
    axes = axes or _new(8, 2.6)
    draw_frame(axes, column.replace("_", " "), "", timeline)
    draw_area(axes, timeline, column, BLUE)
    return axes


def _new(width: float, height: float) -> Axes:
    from matplotlib import pyplot

    axes: Axes = pyplot.subplots(figsize=(width, height), layout="constrained")[1]
    return axes
