"""The picture of a diagnosis: a waterfall from today's goodput to the bound, and what the fixes reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sim.report.colours import BLUE, FAINT, GREEN, GRID, INK, ORANGE, SKY
from sim.report.picture import Picture
from sim.report.words import number, percent

if TYPE_CHECKING:
    from sim.insight.diagnosis.diagnose import Diagnosis

_MOST = 8


def picture(found: Diagnosis) -> Figure:
    """Draw the diagnosis; the figure belongs to no pyplot state."""
    fixes = found.fixes[:_MOST]
    rows = max(len(found.waterfall) + 1, len(fixes) + 2, 4)
    figure = Picture(14, 1.7 + 0.42 * rows)
    left, right = figure.subplots(1, 2, sharex=True)
    figure.suptitle(
        f"{found.name}: {number(found.today.goodput)} good requests/s, {percent(found.today.attainment)} of the "
        f"{number(found.offered_per_s)} that arrive",
        x=0.01, ha="left", color=INK, fontsize=12, fontweight="bold",
    )  # fmt: skip
    _waterfall(left, found)
    _reached(right, found)
    figure.tight_layout(rect=(0, 0, 1, 0.97))
    return figure


def _waterfall(axes: Axes, found: Diagnosis) -> None:
    labels, before = [], 0.0
    for row, (name, goodput) in enumerate(found.waterfall):
        if row == 0:
            axes.barh(row, goodput, color=BLUE)
        else:
            axes.barh(row, goodput - before, left=before, color=ORANGE if goodput >= before else FAINT)
        labels.append(name if row == 0 else f"without: {name}")
        _tell(axes, row, max(goodput, before), number(goodput) if row == 0 else f"{goodput - before:+.3g}")
        before = goodput
    row = len(labels)
    left = found.offered_per_s - before
    if left > 0.005 * found.offered_per_s:
        axes.barh(row, left, left=before, color=GRID)
        _tell(axes, row, found.offered_per_s, f"{left:+.3g}")
        labels.append("more or faster GPUs")
    _finish(axes, labels, found, "what holds it back: bottlenecks taken away, one after another")


def _reached(axes: Axes, found: Diagnosis) -> None:
    axes.barh(0, found.today.goodput, color=BLUE)
    _tell(axes, 0, found.today.goodput, number(found.today.goodput))
    labels = ["today"]
    for row, fix in enumerate(found.fixes[:_MOST], 1):
        axes.barh(row, fix.score.goodput, color=SKY)
        _tell(axes, row, fix.score.goodput, _value(fix.score.goodput, fix.score.usd_per_hour))
        labels.append(fix.change.label)
    if found.together:
        row = len(labels)
        axes.barh(row, found.after.goodput, color=GREEN)
        _tell(axes, row, found.after.goodput, _value(found.after.goodput, found.after.usd_per_hour))
        labels.append("together: " + " + ".join(fix.change.label for fix in found.together))
        labels[-1] = labels[-1] if len(labels[-1]) < 60 else f"{len(found.together)} of them together"
    _finish(axes, labels, found, "what would help")


def _value(goodput: float, usd_per_hour: float | None) -> str:
    return number(goodput) if usd_per_hour is None else f"{number(goodput)}  (${usd_per_hour:.2f}/h)"


def _tell(axes: Axes, row: int, at: float, text: str) -> None:
    axes.annotate(text, (at, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9, color=INK)


def _finish(axes: Axes, labels: list[str], found: Diagnosis, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_yticks(range(len(labels)), labels, fontsize=9)
    axes.invert_yaxis()
    axes.axvline(found.offered_per_s, color=FAINT, linewidth=1, linestyle=":")
    axes.set_xlim(0, 1.35 * max(found.offered_per_s, found.after.goodput, *(value for _, value in found.waterfall)))
    axes.set_xlabel("goodput [requests/s]; dotted: all that is offered", fontsize=9, color=FAINT)
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
