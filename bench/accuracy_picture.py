"""Measured against simulated: latencies of every request of every run, and their course."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator, PercentFormatter

from calibrate.engine_fit.replay import Floats, Latencies, Replay
from sim.report.colours import BLUE, FAINT, GRID, INK, ORANGE
from sim.report.save import save_png

STYLES = {"measured": (INK, "-"), "as shipped": (ORANGE, "-"), "left out of the fit": (BLUE, "--")}
WINDOW_S = 30.0
"""Requests that arrive within so many seconds make one point of a course."""

MILLI = FuncFormatter(lambda value, _: f"{value * 1e3:g}")
MINUTES = FuncFormatter(lambda value, _: f"{value / 60:g}")


def draw(replays: Sequence[Replay], simulated: Mapping[str, Sequence[Latencies]], path: Path) -> None:
    """A row for each run: how TTFT and TPOT are distributed, and both over time. simulated: name -> one per run."""
    figure = Figure(figsize=(12, 2.3 * len(replays)), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(replays), 4, squeeze=False)
    for row, (replay, axes) in enumerate(zip(replays, panels, strict=True)):
        lines = {"measured": replay.measured, **{name: many[row] for name, many in simulated.items()}}
        arrival = replay.run.table.arrival_s[replay.rows]
        for place, latency in enumerate(("ttft", "tpot")):
            values = {name: getattr(found, latency) for name, found in lines.items()}
            distribution(axes[place], values)
            course(axes[place + 2], values, arrival)
            if row == 0:
                axes[place].set_title(f"requests within this {latency.upper()}, ms", size=9, color=INK, loc="left")
                axes[place + 2].set_title(
                    f"mean {latency.upper()}, ms, by minute of arrival", size=9, color=INK, loc="left"
                )
        axes[0].set_ylabel(replay.name.replace("-tp", "\ntp"), size=8, color=INK)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.3 / figure.get_figheight()))
    figure.legend(handles, labels, loc="upper left", ncols=len(labels), frameon=False, fontsize=9)
    save_png(figure, path)


def distribution(axes: Axes, values: Mapping[str, Floats]) -> None:
    """The share of requests below each latency, from the measured ones' 1st to 99th percentile and a bit beyond."""
    for name, all_of_it in values.items():
        found = np.sort(all_of_it[~np.isnan(all_of_it)])
        colour, style = STYLES[name]
        axes.plot(found, np.arange(1, len(found) + 1) / len(found), color=colour, ls=style, lw=1.3, label=name)
    low, high = (float(np.nanpercentile(values["measured"], percent)) for percent in (1, 99))
    axes.set(xlim=(0.8 * low, 1.2 * high), ylim=(0, 1.02))
    axes.xaxis.set_major_formatter(MILLI)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    plain(axes)


def course(axes: Axes, values: Mapping[str, Floats], arrival_s: Floats) -> None:
    """Means over WINDOW_S of arrivals."""
    window = (arrival_s // WINDOW_S).astype(int)
    for name, found in values.items():
        known = ~np.isnan(found)
        count = np.bincount(window[known])
        sums = np.bincount(window[known], weights=found[known])
        there = np.flatnonzero(count)
        colour, style = STYLES[name]
        axes.plot((there + 0.5) * WINDOW_S, sums[there] / count[there], color=colour, ls=style, lw=1.2)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MultipleLocator(300))
    axes.xaxis.set_major_formatter(MINUTES)
    axes.yaxis.set_major_formatter(MILLI)
    plain(axes)


def plain(axes: Axes) -> None:
    axes.grid(True, color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=7, color=FAINT, labelcolor=INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)
