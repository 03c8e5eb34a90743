"""Sizes and capacities as bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from sim.report.colours import BLUE, FAINT, GREEN, INK, PURPLE
from sim.report.picture import Picture
from sim.report.words import count, money, number

if TYPE_CHECKING:
    from sim.insight.search import Capacity
    from sim.insight.sizing import Size

_ROW_INCHES = 0.42
_Panel = tuple[str, Sequence[float | None], Callable[[float], str]]
"""A colour, one value per row, and how one is written."""


def sizes_picture(found: Sequence[Size], name: str) -> Figure:
    """What is enough of every kind of replica; those that are not enough have no bar."""
    rows = [f"{one.gpu} TP{one.tensor_parallel}" if one.tensor_parallel else one.gpu for one in found]
    panels: dict[str, _Panel] = {"GPUs": (BLUE, [one.gpus or None for one in found], lambda value: count(round(value)))}
    if any(one.usd_per_hour is not None for one in found):
        panels = {"$ an hour": (PURPLE, [one.usd_per_hour for one in found], money), **panels}
    return _bars(name, rows, panels, "no size was found")


def capacities_picture(found: Sequence[Capacity], name: str) -> Figure:
    """The highest rate of every variant."""
    panels: dict[str, _Panel] = {
        "requests/s": (GREEN, [one.rate_per_s or None for one in found], number),
        "requests/s per GPU": (BLUE, [one.per_gpu or None for one in found], number),
    }
    if any(one.requests_per_usd for one in found):
        panels["requests per $"] = (PURPLE, [one.requests_per_usd or None for one in found], number)
    return _bars(name, [one.variant for one in found], panels, "no rate meets the targets")


def _bars(name: str, rows: Sequence[str], panels: Mapping[str, _Panel], missing: str) -> Figure:
    """One panel per figure, one bar per row; the figure belongs to no pyplot state."""
    height = 1.2 + _ROW_INCHES * len(rows)
    figure = Picture(12, height)
    widest = max(len(row) for row in rows)
    grid = figure.add_gridspec(
        1, len(panels), left=min(0.03 + 0.0075 * widest, 0.35), right=0.985, bottom=0.1 / height, top=1 - 0.9 / height,
        wspace=0.12,
    )  # fmt: skip
    for column, (title, (colour, values, written)) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[0, column])
        axes.set_title(title, loc="left", size=10, weight="bold", color=INK)
        axes.set_ylim(len(rows) - 0.45, -0.55)
        axes.set_xlim(0, 1.25 * max((value for value in values if value is not None), default=1.0))
        axes.set_xticks([])
        axes.set_yticks(range(len(rows)), rows if column == 0 else [""] * len(rows))
        axes.tick_params(length=0, labelsize=9.5)
        for spine in axes.spines.values():
            spine.set_visible(False)
        for row, value in enumerate(values):
            axes.barh(row, value or 0.0, height=0.62, color=colour, alpha=0.85, lw=0)
            text = written(value) if value is not None else missing if column == 0 else ""
            ink = INK if value is not None else FAINT
            axes.annotate(text, (value or 0.0, row), (4, 0), textcoords="offset points", va="center", size=9, color=ink)
    figure.text(0.015, 1 - 0.35 / height, name, size=14, weight="bold", color=INK, va="center")
    return figure
