"""A validation on the terminal and as a picture, from its summary and its table of requests."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sim.metrics.series import requests_between
from sim.report.colours import BLUE, FAINT, GRID, INK, ORANGE
from sim.report.picture import Picture
from sim.report.words import count, duration, error, number, tick

Summary = dict[str, Any]
_STATISTICS = ("mean", "p50", "p90", "p99")
_LATENCIES = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "E2E", "itl": "ITL"}
_RATES = {
    "requests_per_s": "requests/s",
    "output_tokens_per_s": "output tokens/s",
    "total_tokens_per_s": "total tokens/s",
}
_BUCKETS = 240
_POINTS = 400
_WIDE = 4  # a range of more than this takes a logarithmic axis


def validation_report(summary: Summary) -> RenderableType:
    """The whole validation as one rich renderable, at most 100 columns wide."""
    return Group(*validation_parts(summary))


def validation_parts(summary: Summary) -> list[Table | Text]:
    """What was compared, every metric with its error, whether the runs diverge, and what to know."""
    gpus = summary["tensor_parallel"] * summary["replicas"]
    line = Text(summary["name"], style="bold")
    line.append(f"   {summary['model']} · {gpus} x {summary['gpu']} · {summary['measured_file']}", style="not bold")
    counts = summary["requests"]
    told = f"{count(counts['compared'])} of {count(counts['sent'])} requests compared"
    for name, words in (("failed_in_measured", "failed when measured"), ("rejected_in_simulated", "rejected here")):
        told += f", {count(counts[name])} {words}" if counts[name] else ""
    parts: list[Table | Text] = [line, Text(told, style="dim"), *validation_tables(summary)]
    parts += [Text(f"warning: {warning}", style="yellow") for warning in summary["warnings"]]
    return parts


def validation_tables(summary: Summary) -> Iterator[Table | Text]:
    """Measured, simulated and error of every metric, of all requests and of each stage, each with its verdict."""
    yield _table(summary)
    yield _verdict(summary)
    for stage in summary["stages"] if len(summary["stages"]) > 1 else ():
        yield Text(f"\nstage {stage['stage']}: {count(stage['requests'])} requests")
        yield _table(stage, ("mean", "p99"))
        if stage["diverged"]:
            yield _verdict(stage)


def _verdict(summary: Summary) -> Text:
    if summary["diverged"]:
        return Text("DIVERGED: " + "; ".join(summary["divergence"]["reasons"]), style="bold red")
    growing = summary["divergence"]["measured"]["saturated"]
    return Text("not diverged" + (" (both queues still grow at the last arrival)" if growing else ""), style="green")


def _table(summary: Summary, statistics: Iterable[str] = _STATISTICS) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("metric", min_width=16)
    for name in ("measured", "simulated", "error"):
        table.add_column(name, justify="right", min_width=10)
    for name, label in _LATENCIES.items():
        for statistic in statistics if summary["metrics"].get(name) else ():
            cell = summary["metrics"][name][statistic]
            values = (duration(cell["measured_s"]), duration(cell["simulated_s"]))
            table.add_row(f"{statistic} {label}", *values, _error(cell["error"]))
    for name, label in _RATES.items():
        cell = summary["throughput"][name]
        table.add_row(label, number(cell["measured"]), number(cell["simulated"]), _error(cell["error"]))
    return table


def _error(value: float | None) -> Text:
    if value is None:
        return Text("-")
    return Text(
        error(value),
        style="red" if abs(value) > 0.1 else "green" if abs(value) <= 0.05 else "yellow",
    )


def validation_figure(summary: Summary, requests: pd.DataFrame) -> Figure:
    """Requests in flight and TTFT over time, and the distributions, measured against simulated.

    `requests` has arrival_s and measured_ and simulated_ ttft_s, tpot_s, e2e_s. The figure belongs to no
    pyplot state.
    """
    figure = Picture(13, 7, dpi=110)
    grid = figure.add_gridspec(2, 6, left=0.06, right=0.985, bottom=0.08, top=0.85, hspace=0.42, wspace=0.9)
    _in_flight(figure.add_subplot(grid[0, :3]), requests)
    _over_time(figure.add_subplot(grid[0, 3:]), requests)
    for place, name in enumerate(("ttft", "tpot", "e2e")):
        axes = figure.add_subplot(grid[1, 2 * place : 2 * place + 2])
        _distribution(axes, name, summary, requests)
    title = f"{summary['name']}: {summary['model']} on {summary['gpu']}, TP {summary['tensor_parallel']}"
    figure.text(0.06, 0.955, title, size=14, weight="bold", color=INK, va="center")
    means = ", ".join(
        f"{_LATENCIES[name]} {summary['metrics'][name]['mean']['error'] * 100:+.1f}%"
        for name in ("ttft", "tpot", "e2e")
        if summary["metrics"][name]["mean"]["error"] is not None
    )
    said = f"error of the means: {means}"
    if summary["diverged"]:
        said = f"DIVERGED: {'; '.join(summary['divergence']['reasons'])}"
    figure.text(0.06, 0.915, said, size=10.5, color=ORANGE if summary["diverged"] else INK, va="center")
    return figure


def _in_flight(axes: Axes, requests: pd.DataFrame) -> None:
    arrival = requests["arrival_s"].to_numpy(np.float64)
    ends = {side: arrival + requests[f"{side}_e2e_s"].to_numpy(np.float64) for side in ("measured", "simulated")}
    edges = np.linspace(0.0, max(float(end.max()) for end in ends.values()), _BUCKETS + 1)
    middle = (edges[:-1] + edges[1:]) / 2
    for (side, end), colour in zip(ends.items(), (INK, BLUE), strict=True):
        axes.plot(middle, requests_between(arrival, end, edges) / np.diff(edges), color=colour, lw=1.1, label=side)
    axes.set_title("requests in flight", loc="left", size=10)
    axes.legend(frameon=False, fontsize=8.5, loc="best")
    _dress(axes, "time (s)")


def _over_time(axes: Axes, requests: pd.DataFrame) -> None:
    arrival = requests["arrival_s"].to_numpy(np.float64)
    edges = np.linspace(0.0, max(float(arrival.max()), 1e-9), _BUCKETS // 4 + 1)
    places = np.clip(np.searchsorted(edges, arrival, side="right") - 1, 0, len(edges) - 2)
    middle = (edges[:-1] + edges[1:]) / 2
    for side, colour in (("measured", INK), ("simulated", BLUE)):
        values = requests[f"{side}_ttft_s"].groupby(places)
        found = values.median().reindex(range(len(middle)))
        axes.plot(middle, found, color=colour, lw=1.1, label=f"{side}, median")
        axes.plot(middle, values.quantile(0.9).reindex(range(len(middle))), color=colour, lw=0.9, ls=":",
                  label=f"{side}, p90")  # fmt: skip
    axes.set_yscale("log")
    _seconds(axes, "y")
    axes.set_title("TTFT by time of arrival", loc="left", size=10)
    axes.legend(frameon=False, fontsize=8.5, ncols=2, loc="best")
    _dress(axes, "time (s)")


def _distribution(axes: Axes, name: str, summary: Summary, requests: pd.DataFrame) -> None:
    shares = np.linspace(0.0, 100.0, _POINTS)
    for side, colour in (("measured", INK), ("simulated", BLUE)):
        values = requests[f"{side}_{name}_s"].to_numpy(np.float64)
        values = values[~np.isnan(values)]
        if values.size:
            axes.plot(np.percentile(values, shares), shares / 100, color=colour, lw=1.3, label=side)
    low, high = axes.get_xlim()
    if low > 0 and high < _WIDE * low:
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, seconds=True)))
    else:
        axes.set_xscale("log")
        _seconds(axes, "x")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    mean = summary["metrics"][name]["mean"]
    if mean["error"] is not None:
        axes.set_title(f"{_LATENCIES[name]}   mean {mean['error'] * 100:+.1f}%", loc="left", size=10)
    axes.legend(frameon=False, fontsize=8.5, loc="lower right")
    _dress(axes, "")


def _seconds(axes: Axes, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, seconds=True)))
    axis.set_minor_locator(NullLocator())


def _dress(axes: Axes, xlabel: str) -> None:
    axes.grid(color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(xlabel, size=8.5, color=FAINT)
    axes.tick_params(labelsize=8, colors=FAINT)
    for name in ("top", "right"):
        axes.spines[name].set_visible(False)
