"""A trace in one picture: arrivals over time, lengths, gaps, prefix reuse."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator, NullFormatter, PercentFormatter

from sim.insight.traces.opened import Opened
from sim.report.colours import AMBER, BLUE, FAINT, GREEN, GRID, INK, ORANGE, PURPLE
from sim.report.picture import Picture
from sim.report.words import count, duration, number, percent, tick
from sim.workload.reuse import measure_reuse
from sim.workload.table import Ints, RequestTable

_BARS = 240
_TICKS_S = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 2 * 3600, 6 * 3600, 86400, 7 * 86400)
_LEFT, _RIGHT = 0.05, 0.985


def picture(opened: Opened, told: dict[str, Any]) -> Figure:
    """Draw what `describe` told of a trace; the figure belongs to no pyplot state."""
    figure = Picture(14, 7)
    grid = figure.add_gridspec(
        2, 4, left=_LEFT, right=_RIGHT, bottom=0.08, top=0.86, hspace=0.42, wspace=0.24, height_ratios=(1, 1)
    )
    _arrivals(figure.add_subplot(grid[0, :]), opened)
    table = opened.table
    _lengths(figure.add_subplot(grid[1, 0]), table.prompt_tokens, "prompt tokens", BLUE)
    _lengths(figure.add_subplot(grid[1, 1]), table.output_tokens, "output tokens", GREEN)
    _gaps(figure.add_subplot(grid[1, 2]), opened)
    _reuse(figure.add_subplot(grid[1, 3]), table)
    figure.text(_LEFT, 0.955, opened.path.name, size=16, weight="bold", color=INK, va="center")
    figure.text(_RIGHT, 0.955, f"{opened.format} trace", size=9.5, color=FAINT, va="center", ha="right")
    figure.text(_LEFT, 0.915, _finding(told), size=11, color=INK, va="center")
    return figure


def _finding(told: dict[str, Any]) -> str:
    parts = [f"{count(told['requests'])} requests"]
    if (arrivals := told["arrivals"]) is not None:
        parts[0] += f" in {duration(arrivals['duration_s'])}"
        parts += [f"{number(arrivals['rate_per_s'])} requests/s", f"CV of gaps {number(arrivals['gap_cv'])}"]
        if arrivals["coarse_grid_s"] is not None:
            parts += [f"times on a grid of {duration(arrivals['coarse_grid_s'])}"]
    if (prefix := told["prefix"]) is not None:
        parts += [f"{percent(prefix['token_hit_rate'])} of prompt tokens reusable"]
    return " · ".join(parts)


def _arrivals(axes: Axes, opened: Opened) -> None:
    times = opened.table.arrival_s
    _style(axes, "arrivals", "requests/s")
    if not opened.timed or times[-1] <= times[0]:
        return _nothing(axes, "the file has no times" if not opened.timed else "all requests arrive at once")
    span = times[-1] - times[0]
    width = max(span / _BARS, opened.grid_s or 0.0)
    edges = times[0] + width * np.arange(int(np.ceil(span / width)) + 1)
    counts, _ = np.histogram(times, edges)
    axes.stairs(counts / width, edges, fill=True, color=BLUE, alpha=0.3)
    axes.stairs(counts / width, edges, color=BLUE, lw=1)
    axes.axhline((len(times) - 1) / span, color=ORANGE, lw=1, ls="--", label="mean")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, 1.2 * (counts / width).max())
    axes.xaxis.set_major_locator(MultipleLocator(next((s for s in _TICKS_S if span / s <= 10), span / 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: tick(x, seconds=True)))
    axes.legend(loc="upper right", frameon=False, fontsize=8.5)
    axes.text(0.0, -0.2, f"windows of {duration(width)}", transform=axes.transAxes, size=8.5, color=FAINT)


def _lengths(axes: Axes, tokens: Ints, title: str, colour: str) -> None:
    _style(axes, title, "requests")
    edges = np.unique(np.rint(np.geomspace(max(tokens.min(), 1), tokens.max() + 1, 45)))
    if len(edges) < 3:
        edges = np.array([tokens.min() / 1.5, tokens.min(), tokens.max() + 1, tokens.max() * 1.5 + 1])
    counts, _ = np.histogram(tokens, edges)
    axes.stairs(counts, edges, fill=True, color=colour, alpha=0.85)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: tick(x)))
    if edges[-1] > 10 * edges[0]:
        axes.xaxis.set_minor_formatter(NullFormatter())
    for share, style in ((50, "-"), (99, ":")):
        at = float(np.percentile(tokens, share))
        axes.axvline(at, color=INK, lw=1, ls=style, label=f"p{share} {number(at)}")
    axes.legend(loc="best", frameon=False, fontsize=8.5)


def _gaps(axes: Axes, opened: Opened) -> None:
    _style(axes, "gaps longer than", "share of gaps" if opened.grid_s is None else "spread within the grid")
    gaps = np.sort(np.diff(opened.spread(0).arrival_s))
    if not opened.timed or not len(gaps) or gaps[-1] <= 0:
        return _nothing(axes, "no gaps between arrivals")
    mean = gaps.mean()
    left = min(max(float(gaps[gaps > 0][0]), mean / 100), float(gaps[-1]) / 2)
    x = np.geomspace(left, gaps[-1], 300)
    axes.plot(x, 1 - np.searchsorted(gaps, x, side="right") / len(gaps), color=PURPLE, lw=1.6, label="trace")
    axes.plot(x, np.exp(-x / mean), color=FAINT, lw=1, ls="--", label="Poisson")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(0.5 / len(gaps), 1.5)
    axes.set_xlim(left, gaps[-1] * 1.1)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: tick(x, seconds=True)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: tick(y)))
    axes.legend(loc="lower left", frameon=False, fontsize=8.5)


def _reuse(axes: Axes, table: RequestTable) -> None:
    _style(axes, "prompt tokens seen before", "")
    reuse = measure_reuse(table)
    if reuse is None:
        return _nothing(axes, "the file does not tell\nwhat prompts share")
    share = np.cumsum(reuse.hit_tokens) / np.cumsum(reuse.prompt_tokens)
    x = np.arange(1, len(share) + 1)
    axes.plot(x, share, color=AMBER, lw=1.8, label="so far")
    window = max(len(share) // 40, 1)
    starts = np.arange(0, len(share), window)
    recent = np.add.reduceat(reuse.hit_tokens, starts) / np.add.reduceat(reuse.prompt_tokens, starts)
    axes.stairs(recent, [*starts, len(share)], color=FAINT, lw=1, label=f"per {count(window)} requests")
    axes.set_ylim(0, 1)
    axes.set_xlim(0, len(share))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: tick(x)))
    axes.set_xlabel("requests", size=8.5, color=FAINT, loc="right")
    axes.legend(loc="best", frameon=False, fontsize=8.5)


def _style(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title, loc="left", size=10, weight="bold", color=INK)
    if unit:
        axes.set_title(unit, loc="right", size=8.5, color=FAINT)
    axes.tick_params(labelsize=8.5, color=GRID, which="both")
    axes.grid(color=GRID, lw=0.6, axis="y")
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GRID)


def _nothing(axes: Axes, why: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", size=9.5, color=FAINT)
