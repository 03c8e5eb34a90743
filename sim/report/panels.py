"""Single panels of the overview, for notebooks: each draws into given axes, or into a new pyplot figure."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from sim.errors import ServecastError
from sim.report.colours import BLUE, GREEN, INK, ORANGE, PURPLE, SKY
from sim.report.overview import draw_area, draw_distribution, draw_frame, draw_gpu_time

Summary = dict[str, Any]
LATENCIES = ("ttft", "tpot", "e2el")
_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, INK)


def latency(summary: Summary, requests: pd.DataFrame, name: str, axes: Axes | None, label: str | None) -> Axes:
    """The share of requests at or under each `ttft`, `tpot` or `e2el`. Raises ServecastError for another name."""
    if name not in LATENCIES:
        raise ServecastError(f"there is no latency {name!r} to draw; known: {', '.join(LATENCIES)}")
    axes = axes or _new(6, 3.2)
    place = _runs_drawn(axes)
    label = label or summary["name"] or "run"
    draw_distribution(axes, name, summary, requests, _COLOURS[place % len(_COLOURS)] if place else None, label)
    if place:
        _told_apart(axes)
    return axes


def gpu_time(summary: Summary, axes: Axes | None) -> Axes:
    """One bar of all GPU-seconds, by what they went to."""
    axes = axes or _new(10, 1.4)
    draw_gpu_time(axes, summary)
    return axes


def over_time(timeline: pd.DataFrame, column: str, axes: Axes | None, label: str) -> Axes:
    """One column of the timeline over time. Raises ServecastError for a column that is not there."""
    columns = [name for name in timeline.columns if name not in ("time_s", "width_s")]
    if column not in columns:
        raise ServecastError(f"the timeline has no column {column!r}; known: {', '.join(columns)}")
    axes = axes or _new(8, 2.6)
    place, right = _runs_drawn(axes), axes.get_xlim()[1]
    if not place or (timeline["time_s"] + timeline["width_s"]).max() > right:  # the longest run has the axis
        draw_frame(axes, column.replace("_", " "), "", timeline)
    draw_area(axes, timeline, column, _COLOURS[place % len(_COLOURS)], label)
    if place:
        _told_apart(axes)
    return axes


def _runs_drawn(axes: Axes) -> int:
    """How many runs are in the axes already."""
    return len(axes.get_legend_handles_labels()[1])


def _told_apart(axes: Axes) -> None:
    """A legend instead of what the first run alone had beside its title."""
    for note in axes.texts:
        note.remove()
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="best")


def _new(width: float, height: float) -> Axes:
    from matplotlib import pyplot

    axes: Axes = pyplot.subplots(figsize=(width, height), layout="constrained")[1]
    return axes
