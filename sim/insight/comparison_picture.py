"""The picture of a comparison: one row per variant; what it reached, and where its GPU time went."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sim.insight.comparison_table import written
from sim.report.colours import BLUE, FAINT, GPU_TIME, GREEN, INK, ORANGE, SKY
from sim.report.picture import Picture
from sim.report.words import plural

if TYPE_CHECKING:
    from sim.insight.comparison import Comparison

_PANELS = {
    "request_goodput": ("goodput [requests/s]", GREEN),
    "output_throughput": ("output tokens/s", BLUE),
    "p99_ttft_ms": ("TTFT p99", ORANGE),
    "p99_tpot_ms": ("TPOT p99", SKY),
}
_LATENCIES = ("p99_ttft_ms", "p99_tpot_ms")
_WITHOUT_SLO = {"request_throughput": ("requests/s", GREEN)}
_FAR = 30
"""Where the largest latency is so many times the smallest, bars are drawn on a log axis, or the small ones are lost."""
_ROW_INCHES = 0.42


def picture(comparison: Comparison) -> Figure:
    """Draw the comparison; the figure belongs to no pyplot state."""
    panels = dict(_PANELS)
    if not comparison.table["request_goodput"].notna().any():
        panels = {**_WITHOUT_SLO, **{name: _PANELS[name] for name in _PANELS if name != "request_goodput"}}
    rows = len(comparison.variants)
    height = 1.9 + _ROW_INCHES * rows
    figure = Picture(14, height)
    widest = max(len(name) for name in comparison.variants)
    grid = figure.add_gridspec(
        1,
        len(panels) + 1,
        width_ratios=(*[1] * len(panels), 1.7),
        left=min(0.03 + 0.0062 * widest, 0.3),
        right=0.985,
        bottom=0.75 / height,
        top=1 - 0.95 / height,
        wspace=0.12,
    )
    axes = [figure.add_subplot(grid[0, column]) for column in range(len(panels) + 1)]
    for panel, (metric, (title, colour)) in zip(axes, panels.items(), strict=False):
        _bars(panel, comparison, metric, title, colour)
    _gpu_time(axes[-1], comparison)
    axes[0].set_yticks(range(rows), comparison.variants)
    for label, variant in zip(axes[0].get_yticklabels(), comparison.variants, strict=True):
        label.set_color(ORANGE if comparison.saturated(variant) else INK)
    saturated = [name for name in comparison.variants if comparison.saturated(name)]
    told = plural(len(comparison.seeds), "seed")
    told += f" · saturated, in orange: {len(saturated)} of {rows}" if saturated else ""
    figure.text(0.015, 1 - 0.35 / height, comparison.name, size=14, weight="bold", color=INK, va="center")
    figure.text(0.985, 1 - 0.35 / height, told, size=9.5, color=FAINT, va="center", ha="right")
    return figure


def _bars(axes: Axes, comparison: Comparison, metric: str, title: str, colour: str) -> None:
    values = comparison.table[metric].to_numpy(dtype=float)
    known = values[np.isfinite(values) & (values > 0)]
    _style(axes, title, len(values))
    if metric in _LATENCIES and known.size and known.max() > _FAR * known.min():
        axes.set_xscale("log")
        low, high = known.min() / 3, known.max()
        axes.set_xlim(low, high * (high / low) ** 0.42)
        axes.set_title(f"{title}, log", loc="left", size=10, weight="bold", color=INK)
    else:
        axes.set_xlim(0, (known.max() if known.size else 1.0) * 1.42)
    axes.set_xticks([], minor=False)
    axes.set_xticks([], minor=True)
    for row, value in enumerate(values):
        if isfinite(value) and value > 0:
            axes.barh(row, value, height=0.62, color=colour, alpha=0.85, lw=0)
        at = value if isfinite(value) and value > 0 else axes.get_xlim()[0]
        axes.annotate(
            written(metric, value), (at, row), (4, 0), textcoords="offset points", va="center", size=9, color=INK
        )


def _gpu_time(axes: Axes, comparison: Comparison) -> None:
    _style(axes, "where GPU time went", len(comparison.variants))
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    seen: dict[str, None] = {}
    for row, variant in enumerate(comparison.variants):
        left = 0.0
        for name, share in comparison.gpu_time(variant).items():
            if share:
                new = name not in seen
                axes.barh(
                    row, share, left=left, height=0.62, color=GPU_TIME[name], label=name if new else None,
                    edgecolor="white", lw=0.6,
                )  # fmt: skip
                seen[name] = None
                left += share
    handles, labels = axes.get_legend_handles_labels()
    order = [labels.index(name) for name in GPU_TIME if name in labels]
    axes.legend(
        [handles[i] for i in order], [labels[i] for i in order], loc="upper right", bbox_to_anchor=(1.0, -0.01),
        ncols=len(order) if len(order) <= 8 else 6, frameon=False, fontsize=8.5, handlelength=1, handleheight=1,
        columnspacing=1.2,
    )  # fmt: skip


def _style(axes: Axes, title: str, rows: int) -> None:
    axes.set_title(title, loc="left", size=10, weight="bold", color=INK)
    axes.set_ylim(rows - 0.45, -0.55)
    axes.set_yticks([])
    axes.tick_params(length=0, labelsize=9.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
