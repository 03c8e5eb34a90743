"""Variants beside each other: figures, what can be claimed, and where GPU time went."""

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

from sim.export.page import charts
from sim.export.saved import SavedComparison, SavedRun
from sim.insight.cards import Metrics, beliefs, claims, metrics_table
from sim.insight.comparison import METRICS, metrics_of
from sim.insight.comparison_table import written
from sim.report import markup
from sim.report.colours import BLUE, GREEN, ORANGE, PURPLE, SKY

_BARS = {
    "request_goodput": GREEN,
    "slo_attainment": GREEN,
    "output_throughput": BLUE,
    "p99_ttft_ms": ORANGE,
    "p99_tpot_ms": SKY,
    "p99_e2el_ms": ORANGE,
    "usd_per_million_output_tokens": PURPLE,
}
_DOWN = {"type": "category", "autorange": "reversed"}


def comparison_section(saved: SavedComparison) -> str:
    """The section of a `compare`."""
    told = saved.summary
    variants: Mapping[str, Any] = told["variants"]
    metrics = {
        name: {key: nan if variant["metrics"].get(key) is None else variant["metrics"][key] for key in METRICS}
        for name, variant in variants.items()
    }
    seeds = len(told["seeds"])
    parts = [
        markup.paragraph(f"{len(variants)} variants, {seeds} seed{'s' * (seeds > 1)}", "faint"),
        beliefs(variants),
        metrics_table(metrics, {name: variant["saturated"] for name, variant in variants.items()}),
        claims(told),
        _charts(metrics, {name: variant["gpu_time"] for name, variant in variants.items()}),
    ]
    return "".join(parts)


def runs_compared(runs: Sequence[SavedRun]) -> str:
    """Single runs beside each other; nothing is said of chance."""
    named = {f"{run.name} ({i})" if _twice(run, runs) else run.name: run.summary for i, run in enumerate(runs, 1)}
    metrics = {name: metrics_of(summary) for name, summary in named.items()}
    gpu_time = {name: summary["gpu_time"]["fraction"] for name, summary in named.items()}
    asked = {run.summary["made_with"]["requests_sha256"] for run in runs}
    other = "" if len(asked) == 1 else markup.paragraph("These runs did not serve the same requests.", "faint")
    table = metrics_table(metrics, {name: summary["saturated"] for name, summary in named.items()})
    return other + beliefs(named) + table + _charts(metrics, gpu_time)


def _twice(run: SavedRun, runs: Sequence[SavedRun]) -> bool:
    return sum(other.name == run.name for other in runs) > 1


def _charts(metrics: Mapping[str, Metrics], shares: Mapping[str, Mapping[str, float | None]]) -> str:
    figures = []
    for name, colour in _BARS.items():
        values = [row[name] for row in metrics.values()]
        known = [value for value in values if value == value]
        if not known:
            continue
        texts = [written(name, value) for value in values]
        wide = {"range": [0, 1.25 * max(known) or 1.0], "showticklabels": False}
        made = charts.bars(list(metrics), charts.numbers(values), texts, colour)
        figures.append(charts.figure(METRICS[name].label, [made], xaxis=wide, yaxis=_DOWN))
    height = 110 + 32 * len(metrics)
    shown = {"tickformat": ".0%", "range": [0, 1]}
    split = charts.figure("GPU time", charts.gpu_time(shares), barmode="stack", xaxis=shown, yaxis=_DOWN)
    bars = charts.chart("Figures", *figures, height=height) if figures else ""
    return f'<div class="charts">{bars}{charts.chart("Where GPU time went", split, height=height + 40)}</div>'
