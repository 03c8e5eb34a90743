"""Variants or runs beside each other: one table, and charts with all of them in."""

from collections.abc import Collection, Mapping, Sequence
from math import isfinite

from sim.export.page import charts
from sim.export.page.latencies import Curves, curves_of, distributions
from sim.export.page.over_time import compared_over_time
from sim.export.page.section import Section, grid
from sim.export.saved import SavedRun
from sim.insight.cards import Metrics, metrics_table, worst_belief
from sim.insight.comparison import METRICS, metrics_of
from sim.insight.comparison_table import SMALL, written
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
_JUDGED_BY = ("request_goodput", "output_throughput", "p99_ttft_ms")
"""What the headline is about: the first of these that tells the variants apart."""
_MOST_LINES = 12

Targets = Mapping[str, Mapping[str, float | None] | None]


def runs_side_by_side(runs: Sequence[SavedRun]) -> Section:
    """Single runs beside each other; nothing is said of chance."""
    named = {f"{run.name} ({i})" if _twice(run, runs) else run.name: run for i, run in enumerate(runs, 1)}
    summaries = {name: run.summary for name, run in named.items()}
    metrics = {name: metrics_of(summary) for name, summary in summaries.items()}
    slo = {name: summary["slo"] for name, summary in summaries.items()}
    asked = {summary["made_with"]["requests_sha256"] for summary in summaries.values()}
    other = "" if len(asked) == 1 else markup.paragraph("These runs did not serve the same requests.", "faint")
    curves = {name: curves_of(run.requests) for name, run in named.items()}
    few = dict(list(named.items())[:_MOST_LINES])
    drawn = [
        side_by_side_curves({name: curves[name] for name in few}, slo),
        compared_over_time({name: run.timeline for name, run in few.items()}),
    ]
    if len(few) < len(named):
        other += markup.paragraph(f"Lines are drawn of the first {len(few)} of {len(named)} runs.", "faint")
    body = [
        other,
        metrics_table(metrics, {name: bool(summary["saturated"]) for name, summary in summaries.items()}, slo=slo),
        grid([*drawn, *bar_charts(metrics, {name: one["gpu_time"]["fraction"] for name, one in summaries.items()})]),
    ]
    return Section(best_of(metrics), "".join(body), worst_belief(summaries))


def best_of(metrics: Mapping[str, Metrics], ties: Collection[tuple[str, str]] = ()) -> str:
    """Which variant is the best, in a sentence."""
    for name in _JUDGED_BY:
        known = {variant: values[name] for variant, values in metrics.items() if isfinite(values[name])}
        if known and max(known.values()) > (1 + SMALL) * min(known.values()):
            break
    else:
        return f"{len(metrics)} variants, and no metric tells them apart by 1%."
    label, first = METRICS[name].label, next(iter(known))
    best = (max if METRICS[name].more_is_better else min)(known, key=known.__getitem__)
    if best == first or (known[first] and 1 / (1 + SMALL) < known[best] / known[first] < 1 + SMALL):
        others = {variant: value for variant, value in known.items() if variant != first}
        near = (max if METRICS[name].more_is_better else min)(others, key=others.__getitem__)
        return (
            f"No other beats {first} on {label}, {written(name, known[first])}; the nearest is {near} with "
            f"{written(name, known[near])}."
        )
    told = (
        f"{best} has the best {label}: {written(name, known[best])}, against {written(name, known[first])} of {first}"
    )
    if (best, name) in ties:
        return f"{told}; a tie, as chance or the model's error explain the difference."
    change = f" ({known[best] / known[first] - 1:+.1%})" if known[first] else ""
    return f"{told}{change}."


def side_by_side_curves(curves: Mapping[str, Curves], slo: Targets, note: str = "") -> str:
    """The latency distributions of all, and the targets where they are the same for all."""
    asked = [targets or {} for targets in slo.values()]
    return distributions(curves, asked[0] if all(one == asked[0] for one in asked) else {}, note)


def bar_charts(metrics: Mapping[str, Metrics], shares: Mapping[str, Mapping[str, float | None]]) -> Sequence[str]:
    """One chart of any chief metric, and one of GPU time."""
    figures = []
    names = [charts.plain(name) for name in metrics]
    for name, colour in _BARS.items():
        values = [row[name] for row in metrics.values()]
        known = [value for value in values if isfinite(value)]
        if not known:
            continue
        texts = [written(name, value) for value in values]
        wide = {"range": [0, 1.25 * max(known) or 1.0], "showticklabels": False}
        made = charts.bars(names, charts.numbers(values), texts, colour)
        figures.append(charts.figure(METRICS[name].label, [made], xaxis=wide, yaxis=charts.TOP_DOWN))
    height = 110 + 32 * len(metrics)
    shown = {"tickformat": charts.PERCENT, "range": [0, 1]}
    told = {charts.plain(name): share for name, share in shares.items()}
    split = charts.figure("GPU time", charts.gpu_time(told), barmode="stack", xaxis=shown, yaxis=charts.TOP_DOWN)
    return [
        charts.chart("Figures", *figures, height=height),
        charts.chart("Where GPU time went", split, height=height + 40),
    ]


def _twice(run: SavedRun, runs: Sequence[SavedRun]) -> bool:
    return sum(other.name == run.name for other in runs) > 1
