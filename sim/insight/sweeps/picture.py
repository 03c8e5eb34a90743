"""The picture of a sweep: every point, and the frontier that no other point beats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from sim.insight.comparison import METRICS
from sim.report.colours import FAINT, GRID, INK, ORANGE
from sim.report.picture import Picture

if TYPE_CHECKING:
    from sim.insight.sweeps.points import Point, Sweep

_MOST_NAMES = 12
_UNITS = {"ms": " [ms]", "percent": "", "usd": "", "rate": "", "number": "", "count": ""}
_FAR = 30
"""Where the largest value is so many times the smallest, an axis is logarithmic."""


def picture(found: Sweep) -> Figure:
    """Draw the sweep over its first two objectives; the figure belongs to no pyplot state."""
    figure = Picture(11, 7.5)
    axes = figure.subplots()
    across, up = (found.objectives * 2)[1::-1] if len(found.objectives) > 1 else (found.objectives[0],) * 2
    known = [point for point in found.points if not point.error]
    colour = found.objectives[2] if len(found.objectives) > 2 else None
    shades = [point.metrics[colour] for point in known] if colour else None
    drawn = axes.scatter(
        [point.metrics[across] for point in known], [point.metrics[up] for point in known],
        c=shades, cmap="viridis_r" if colour else None, s=44, alpha=0.85, edgecolors="white", linewidths=0.5, zorder=3,
    )  # fmt: skip
    if colour:
        figure.colorbar(drawn, ax=axes, label=_label(colour))
    best = sorted(found.frontier, key=lambda point: point.metrics[across])
    axes.scatter(
        [point.metrics[across] for point in best], [point.metrics[up] for point in best],
        facecolors="none", edgecolors=ORANGE, s=120, linewidths=1.6, zorder=4,
        label=f"frontier: {len(best)} of {len(known)} points, which no other beats in all of "
        f"{', '.join(METRICS[name].label for name in found.objectives)}",
    )  # fmt: skip
    for place, point in enumerate(found.frontier[:_MOST_NAMES], 1):
        at = (point.metrics[across], point.metrics[up])
        axes.annotate(str(place), at, xytext=(7, 6), textcoords="offset points", fontsize=9, color=INK, zorder=5)
    for name, set_scale in ((across, axes.set_xscale), (up, axes.set_yscale)):
        values = [point.metrics[name] for point in known if point.metrics[name] == point.metrics[name]]
        if values and min(values) > 0 and max(values) > _FAR * min(values):
            set_scale("log")
    axes.set_xlabel(_label(across))
    axes.set_ylabel(_label(up))
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize=8)
    figure.suptitle(f"{found.name}: sweep over {', '.join(found.keys)}", x=0.01, ha="left", color=INK, fontsize=11)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=FAINT)
    names = [f"{place}: {told(point)}" for place, point in enumerate(found.frontier[:_MOST_NAMES], 1)]
    figure.text(0.01, 0.01, "\n".join(names), fontsize=8, color=INK, va="bottom")
    figure.tight_layout(rect=(0, 0.03 + 0.021 * len(names), 1, 0.98))
    return figure


def told(point: Point) -> str:
    """The point's values by the last part of their keys."""
    parts = (override.partition("=") for override in point.overrides)
    return ", ".join(f"{key.rpartition('.')[2]}={value}" for key, _, value in parts)


def _label(name: str) -> str:
    return METRICS[name].label + _UNITS[METRICS[name].kind]
