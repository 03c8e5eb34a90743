"""The picture of a run: what came in, how it was served, and where the time went."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from sim.report.colours import AMBER, BLUE, FAINT, GPU_TIME, GREEN, GRID, INK, ORANGE, PURPLE, SKY
from sim.report.picture import Picture
from sim.report.words import count, duration, known, milliseconds, nothing_measured, number, percent, tick

Summary = dict[str, Any]
Requests = Mapping[str, NDArray[Any]] | pd.DataFrame
_CDF = {"ttft": ("TTFT", "ttft_s", BLUE), "tpot": ("TPOT", "tpot_s", GREEN), "e2el": ("E2E", "e2e_s", ORANGE)}
_CDF_POINTS = 400
_LABEL = 8.5
_LEFT, _RIGHT = 0.052, 0.985
_FAR = 30  # how many times beyond the data a target may lie and still be shown


def overview(summary: Summary, requests: Requests, timeline: pd.DataFrame) -> Figure:
    """Draw the overview of a run: nine panels under a one-line finding.

    `summary` as of sim.metrics.summarize, `requests` with the latency columns of
    sim.metrics.latency_columns added, `timeline` as of sim.metrics.timeline. The figure belongs to no
    pyplot state; save it with sim.report.save_png for bytes that are the same on each run.
    """
    figure = Picture(14, 9)
    grid = figure.add_gridspec(
        4,
        3,
        height_ratios=(1, 1, 1, 0.36),
        left=_LEFT,
        right=_RIGHT,
        bottom=0.045,
        top=0.875,
        hspace=0.55,
        wspace=0.19,
    )
    panels = [figure.add_subplot(grid[row, column]) for row in range(3) for column in range(3)]
    _over_time(panels, summary, timeline)
    _tail_over_time(panels[5], summary, timeline)
    for axes, name in zip(panels[6:], _CDF, strict=True):
        draw_distribution(axes, name, summary, requests)
    draw_gpu_time(figure.add_subplot(grid[3, :]), summary)
    _heading(figure, summary)
    return figure


def _heading(figure: Figure, summary: Summary) -> None:
    name = summary["name"] or "servecast run"
    figure.text(_LEFT, 0.962, name, size=16, weight="bold", color=INK, va="center")
    gpus = f"{summary['gpus']} x {summary['gpu'] or 'GPU'}"
    setting = " · ".join(part for part in (summary["model_id"], gpus, summary["provenance"]) if part)
    figure.text(_RIGHT, 0.962, setting, size=9.5, color=FAINT, va="center", ha="right")
    if summary["saturated"]:
        figure.text(_LEFT + 0.004, 0.925, "SATURATED", size=11, color="white", weight="bold", va="center",
                    bbox={"boxstyle": "round,pad=0.3", "facecolor": ORANGE, "edgecolor": "none"})  # fmt: skip
    left, colour = (0.14, ORANGE) if summary["saturated"] else (_LEFT, INK)
    figure.text(left, 0.925, finding(summary), size=11, color=colour, va="center")


def finding(summary: Summary) -> str:
    """What the run came to, in one line."""
    if not summary["completed"]:
        return nothing_measured(summary)
    if summary["saturated"]:
        parts = [summary["saturation"]["reason"]]
    else:
        plural = "s" * (summary["completed"] != 1)
        parts = [f"{count(summary['completed'])} request{plural} in {duration(summary['duration'])}"]
        parts += [f"{number(summary['output_throughput'])} output tokens/s"]
    parts += [f"TTFT p99 {known(summary, 'p99_ttft_ms')}"]
    if summary["p99_tpot_ms"] is not None and not summary["saturated"]:
        parts.append(f"TPOT p99 {known(summary, 'p99_tpot_ms')}")
    if summary["request_goodput"] is not None:
        share = percent(summary["slo_attainment"]["all"])
        parts.append(f"goodput {number(summary['request_goodput'])} requests/s, {share} meet the SLO")
    return " · ".join(parts)


def _over_time(panels: list[Axes], summary: Summary, timeline: pd.DataFrame) -> None:
    """Panels 0 to 4: arrivals, queue and batch, KV cache, tokens, GPUs."""
    draw_frame(panels[0], "arrivals", "requests/s", timeline)
    draw_area(panels[0], timeline, "arrivals_per_s", BLUE)
    draw_frame(panels[1], "requests, all replicas", "", timeline)
    panels[1].yaxis.set_major_locator(MaxNLocator(4, integer=True))
    draw_area(panels[1], timeline, "running", GREEN, "running")
    _line(panels[1], timeline, "queue_depth", ORANGE, "queued")
    _legend(panels[1])
    draw_frame(panels[2], "KV cache in use", "", timeline)
    draw_area(panels[2], timeline, "kv_used_fraction", PURPLE)
    draw_frame(panels[3], "tokens", "tokens/s", timeline)
    _line(panels[3], timeline, "prefill_tokens_per_s", SKY, "prefill")
    draw_area(panels[3], timeline, "output_tokens_per_s", BLUE, "output")
    _legend(panels[3])
    _gpus(panels[4], timeline)
    _percent_axis(panels[2], most=max(0.1, 1.3 * (summary["kv_occupancy_peak"] or 0.0)))
    note = f"peak {percent(summary['kv_occupancy_peak'])}"
    panels[2].annotate(note, (1, 1.03), xycoords="axes fraction", ha="right", size=_LABEL, color=FAINT)


def _gpus(axes: Axes, timeline: pd.DataFrame) -> None:
    """How busy the GPUs are; where replicas come and go, how many there are as well."""
    if "replicas_held" not in timeline:
        draw_frame(axes, "GPUs busy", "", timeline)
        draw_area(axes, timeline, "gpu_busy_fraction", AMBER)
        _percent_axis(axes)
        return
    draw_frame(axes, "replicas", "", timeline)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    _line(axes, timeline, "replicas_held", FAINT, "held")
    _line(axes, timeline, "replicas_serving", BLUE, "serving")
    draw_area(axes, timeline, "replicas_busy", AMBER, "busy")
    _legend(axes)


def _tail_over_time(axes: Axes, summary: Summary, timeline: pd.DataFrame) -> None:
    draw_frame(axes, "TTFT by arrival time", "", timeline)
    known = timeline[timeline["ttft_p50_s"] > 0]
    if known.empty:
        _nothing(axes, "no first token")
        return
    middle = known["time_s"] + known["width_s"] / 2
    few = "." if len(known) < 100 else ""
    axes.fill_between(middle, known["ttft_p50_s"], known["ttft_p99_s"], color=ORANGE, alpha=0.18, lw=0)
    axes.plot(middle, known["ttft_p50_s"], color=BLUE, lw=1, marker=few, label="p50")
    axes.plot(middle, known["ttft_p99_s"], color=ORANGE, lw=1, marker=few, label="p99")
    axes.set_yscale("log")
    shown = known[["ttft_p50_s", "ttft_p99_s"]].to_numpy().ravel()
    target_s = (summary["slo"] or {}).get("ttft_ms", 0.0) / 1e3
    if np.nanmin(shown) / _FAR < target_s < np.nanmax(shown) * _FAR:  # further off it would flatten the curves
        axes.axhline(target_s, color=INK, lw=1, ls="--", label="SLO")
        shown = np.append(shown, target_s)
    _seconds_axis(axes, "y", shown)
    _legend(axes)


def draw_distribution(
    axes: Axes, name: str, summary: Summary, requests: Requests, colour: str | None = None, label: str | None = None
) -> None:
    """The share of requests at or under each latency, on a log axis, with the SLO and the 99th percentile."""
    title, column, its_own = _CDF[name]
    shown = axes.get_xlim() if axes.lines else None
    _axes_style(axes, f"{title} CDF", "")
    values = np.asarray(requests[column])[np.asarray(requests["measured"], dtype=bool)]
    values = np.sort(values[values > 0])  # NaN compares false
    _percent_axis(axes)
    if not values.size:
        _nothing(axes, "no request with two tokens" if name == "tpot" else "no request finished")
        return
    rank = np.unique(np.linspace(0, values.size - 1, min(values.size, _CDF_POINTS)).astype(np.int64))
    steps = np.concatenate((values[rank[:1]], values[rank]))
    share = np.concatenate(([0.0], (rank + 1) / values.size))
    told = f"p50 {milliseconds(summary[f'p50_{name}_ms'])}   p99 {known(summary, f'p99_{name}_ms')}"
    axes.step(steps, share, where="post", color=colour or its_own, lw=1.8, label=label and f"{label}: {told}")
    axes.set_xscale("log")
    target = (summary["slo"] or {}).get(f"{name}_ms")
    _seconds_axis(axes, "x", np.concatenate([values, [target / 1e3] if target else [], shown or []]))
    if target:
        axes.axvline(target / 1e3, color=INK, lw=1, ls="--")
    if target:
        told += f"   SLO {tick(target / 1e3, seconds=True)}: {percent(summary['slo_attainment'][name])}"
    axes.annotate(told, (1, 1.03), xycoords="axes fraction", ha="right", size=_LABEL, color=FAINT)


def draw_gpu_time(axes: Axes, summary: Summary) -> None:
    """One bar for all GPU-seconds; shares too thin to write into are told in the legend only."""
    total = duration(summary["gpu_time"]["total_s"])
    _title(axes, f"where GPU time went ({total} over {summary['gpus']} GPU{'s' * (summary['gpus'] > 1)})")
    left = 0.0
    for name, share in summary["gpu_time"]["fraction"].items():
        if not share:
            continue
        told = percent(share)
        axes.barh(0, share, left=left, color=GPU_TIME[name], edgecolor="white", lw=0.8, label=f"{name} {told}")
        if share >= 0.05:
            ink = INK if name in ("starved", "host", "decode", "padding") else "white"
            axes.text(left + share / 2, 0, told, ha="center", va="center", size=_LABEL + 0.5, color=ink)
        left += share
    if left:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=8, frameon=False,
                    fontsize=_LABEL + 0.5, handlelength=1, handleheight=1, columnspacing=1.8)  # fmt: skip
    else:
        _nothing(axes, "no GPU time")
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.42, 0.42)
    axes.set_axis_off()


def draw_frame(axes: Axes, title: str, unit: str, timeline: pd.DataFrame) -> None:
    """A panel over time, with the unit of its y axis in its title."""
    _axes_style(axes, title, unit)
    if timeline.empty:
        _nothing(axes, "nothing ran")
        return
    end = float(timeline["time_s"].iloc[-1] + timeline["width_s"].iloc[-1])
    scale, name = (3600.0, "h") if end >= 3 * 3600 else (60.0, "min") if end >= 600 else (1.0, "s")
    if end < 1:
        scale, name = 1e-3, "ms"
    axes.set_xlim(0, end)
    locator = MaxNLocator(6, steps=[1, 2, 3, 5, 6, 10] if name == "h" else [1, 2, 2.5, 5, 10])
    ticks = np.asarray(locator.tick_values(0, end / scale)) * scale
    axes.set_xticks(ticks[ticks <= end * 1.0001])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{tick(x / scale)} {name}" if x else "0"))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: tick(y)))


def _axes_style(axes: Axes, title: str, unit: str) -> None:
    _title(axes, title, unit)
    axes.set_facecolor("white")
    axes.grid(True, color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=_LABEL, colors=FAINT, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GRID)


def _title(axes: Axes, title: str, unit: str = "") -> None:
    text = f"{title} [{unit}]" if unit else title
    axes.set_title(text, loc="left", size=10, weight="bold", color=INK, pad=5)


def draw_area(axes: Axes, timeline: pd.DataFrame, column: str, colour: str, label: str | None = None) -> None:
    if timeline.empty:
        return
    edges, values = _stairs(timeline, column)
    axes.stairs(values, edges, fill=True, color=colour, alpha=0.25, lw=0)
    axes.stairs(values, edges, baseline=None, color=colour, lw=1.2, label=label)
    axes.set_ylim(bottom=0, top=max(axes.get_ylim()[1], float(values.max()) * 1.08, 1e-9))


def _line(axes: Axes, timeline: pd.DataFrame, column: str, colour: str, label: str) -> None:
    if timeline.empty:
        return
    edges, values = _stairs(timeline, column)
    axes.stairs(values, edges, baseline=None, color=colour, lw=1.2, label=label)
    axes.set_ylim(bottom=0, top=max(axes.get_ylim()[1], float(values.max()) * 1.08))


def _stairs(timeline: pd.DataFrame, column: str) -> tuple[NDArray[Any], NDArray[Any]]:
    starts, widths = timeline["time_s"].to_numpy(), timeline["width_s"].to_numpy()
    return np.append(starts, starts[-1] + widths[-1]), timeline[column].to_numpy()


def _seconds_axis(axes: Axes, which: str, values: NDArray[Any]) -> None:
    """A log axis of times with 1-2-5 ticks that never is narrower than a factor of four."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    middle = (low * high) ** 0.5
    low, high = min(low / 1.15, middle / 2), max(high * 1.15, middle * 2)
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
    decades = np.log10(high / low)
    fitting = ((0.9, (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)), (2, (1.0, 2.0, 5.0)), (3, (1.0, 3.0)), (np.inf, (1.0,)))
    subs: tuple[float, ...] = next(marks for most, marks in fitting if decades < most)
    axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, seconds=True)))


def _percent_axis(axes: Axes, most: float = 1.0) -> None:
    if most < 0.75:
        axes.set_ylim(0, most)
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    else:
        axes.set_ylim(0, 1.04)
        axes.set_yticks((0, 0.25, 0.5, 0.75, 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", bbox_to_anchor=(1.01, 0.985), ncols=3, frameon=False, fontsize=_LABEL,
                    handlelength=1.2, columnspacing=1.2, borderaxespad=0, labelcolor=FAINT)  # fmt: skip


def _nothing(axes: Axes, why: str) -> None:
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", size=10, color=FAINT)
    axes.set_xticks([])
    axes.set_yticks([])
