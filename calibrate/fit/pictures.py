"""One picture per operation: predicted over measured seconds of the held-out points, both logarithmic."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from calibrate.fit.held_out import GOALS, Prediction, summary
from sim.report.colours import BLUE, FAINT, GRID, INK, ORANGE

_BAND = 0.1
_WIDEST = 0.5


def picture(op: str, predictions: Sequence[Prediction], device: str) -> Figure:
    """Left: predicted over measured, with a band of 10%. Right: the error over the measured time."""
    found = summary(predictions)
    goal = f", goal {GOALS[op]:.0%}" if op in GOALS else ""
    figure = Figure(figsize=(9.6, 4.4), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    title = f"{op}: {found['points']} held-out points, median error {found['median']:.1%}, p95 {found['p95']:.1%}{goal}"
    figure.text(0.012, 0.955, title, size=12, weight="bold", color=INK, va="center")
    figure.text(0.012, 0.905, device, size=8.5, color=FAINT, va="center")
    left, right = figure.subplots(1, 2)
    measured = np.array([one.point.time_s for one in predictions]) * 1e6
    predicted = np.array([one.predicted_s for one in predictions]) * 1e6
    outside = np.array([one.extrapolated for one in predictions])
    ends = np.array([min(measured.min(), predicted.min()) * 0.8, max(measured.max(), predicted.max()) * 1.25])
    left.fill_between(ends, ends * (1 - _BAND), ends * (1 + _BAND), color=GRID, lw=0, zorder=0, label="within 10%")
    left.plot(ends, ends, color=FAINT, lw=0.8, zorder=1)
    left.set(xlim=tuple(ends), ylim=tuple(ends), yscale="log", ylabel="predicted, µs")
    right.axhspan(-_BAND, _BAND, color=GRID, lw=0, zorder=0)
    right.axhline(0, color=FAINT, lw=0.8, zorder=1)
    errors = predicted / measured - 1.0
    right.set_ylim(-_WIDEST, _WIDEST)
    right.set_ylabel("error of the prediction")
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for colour, which, label in ((BLUE, ~outside, "inside the fitted range"), (ORANGE, outside, "extrapolated")):
        if which.any():
            left.plot(measured[which], predicted[which], ".", color=colour, ms=5, mew=0, alpha=0.6, label=label)
            shown = np.clip(errors[which], -_WIDEST, _WIDEST)
            right.plot(measured[which], shown, ".", color=colour, ms=5, mew=0, alpha=0.6, clip_on=False)
    left.legend(frameon=False, fontsize=8, loc="upper left")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="measured, µs", xlim=tuple(ends))
        _plain(axes)
    left.yaxis.set_major_formatter(_NUMBER)
    left.yaxis.set_minor_formatter(_NOTHING)
    figure.subplots_adjust(left=0.085, right=0.985, bottom=0.12, top=0.85, wspace=0.27)
    return figure


_NUMBER = FuncFormatter(lambda value, _: f"{value:g}")
_NOTHING = FuncFormatter(lambda *_: "")


def _plain(axes: Axes) -> None:
    axes.grid(True, color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_formatter(_NUMBER)
    axes.xaxis.set_minor_formatter(_NOTHING)
    axes.tick_params(which="both", labelsize=8, color=FAINT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
