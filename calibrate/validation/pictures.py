"""The two pictures of a validation: every step, and the distribution of every latency, measured and simulated."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from calibrate.validation.errors import KINDS, LATENCIES
from calibrate.validation.report import percent
from calibrate.validation.run import WorkloadRun
from sim.report.colours import BLUE, FAINT, GREEN, GRID, INK, ORANGE

_COLOURS = dict(zip(KINDS, (ORANGE, BLUE, GREEN), strict=True))
_BAND = 0.1
_MILLI = FuncFormatter(lambda value, _: f"{value * 1e3:g}")


def steps_picture(runs: Sequence[WorkloadRun], title: str) -> Figure:
    """A panel per workload: predicted over measured duration of every step, by kind."""
    columns = min(3, len(runs))
    lines = -(-len(runs) // columns)
    figure = _figure((4.4 * columns, 0.9 + 3.7 * lines), title)
    for place, run in enumerate(runs, start=1):
        axes = figure.add_subplot(lines, columns, place)
        _steps_panel(axes, run)
        if place > len(runs) - columns:
            axes.set_xlabel("measured, ms")
        if place % columns == 1 or columns == 1:
            axes.set_ylabel("predicted, ms")
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.5 / figure.get_figheight()))
    return figure


def latency_picture(runs: Sequence[WorkloadRun], title: str) -> Figure:
    """A row per workload, a column per latency: the share of requests below, measured and simulated."""
    figure = _figure((12.5, 0.9 + 2.1 * len(runs)), title)
    for line, run in enumerate(runs):
        for column, name in enumerate(LATENCIES):
            axes = figure.add_subplot(len(runs), len(LATENCIES), line * len(LATENCIES) + column + 1)
            _latency_panel(axes, run, name)
            if line == len(runs) - 1:
                axes.set_xlabel("ms")
            if column == 0:
                axes.set_ylabel("requests")
            if line == column == 0:
                axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.5 / figure.get_figheight()))
    return figure


def _figure(size: tuple[float, float], title: str) -> Figure:
    figure = Figure(figsize=size, dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.012, 1 - 0.28 / size[1], title, size=12, weight="bold", color=INK, va="center")
    return figure


def _steps_panel(axes: Axes, run: WorkloadRun) -> None:
    _plain(axes)
    both = run.steps[["measured_s", "predicted_s"]].to_numpy(np.float64)
    ends = np.array([both.min() * 0.8, both.max() * 1.25])
    axes.fill_between(ends, ends * (1 - _BAND), ends * (1 + _BAND), color=GRID, zorder=0, lw=0)
    axes.plot(ends, ends, color=FAINT, lw=0.8, zorder=1)
    for kind in ("decode", "mixed", "prefill"):
        rows = run.steps[run.steps["kind"] == kind]
        if len(rows):
            label = f"{kind}: {len(rows)}, {percent(run.summary['step'][kind]['median'])}"
            axes.plot(
                rows["measured_s"], rows["predicted_s"], ".", color=_COLOURS[kind], ms=4, alpha=0.45, mew=0,
                label=label,
            )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlim=tuple(ends), ylim=tuple(ends))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_MILLI)
        axis.set_minor_formatter(_MILLI if ends[1] / ends[0] < 12 else FuncFormatter(lambda *_: ""))
    axes.tick_params(which="both", labelsize=7, color=FAINT)
    axes.set_title(run.name, size=10, color=INK, loc="left")
    legend = axes.legend(frameon=False, fontsize=7.5, loc="upper left", title="steps, median error")
    legend.get_title().set_fontsize(7.5)


def _latency_panel(axes: Axes, run: WorkloadRun, name: str) -> None:
    _plain(axes)
    for column, colour, style, label in (
        (f"{name}_s", INK, "-", "measured"),
        (f"simulated_{name}_s", ORANGE, "--", "simulated"),
    ):
        values = np.sort(run.requests[column].dropna().to_numpy(np.float64))
        shares = np.arange(1, len(values) + 1) / len(values)
        axes.step(values, shares, where="post", color=colour, ls=style, lw=1.4, label=label)
    axes.set_ylim(0, 1.02)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(_MILLI)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.tick_params(labelsize=7, color=FAINT)
    found = run.summary["latency"][name]
    error = percent(found["mean"]["error"], signed=True)
    axes.set_title(f"{run.name}: {name.upper()}, mean {error}", size=9, color=INK, loc="left")


def _plain(axes: Axes) -> None:
    axes.grid(True, color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
