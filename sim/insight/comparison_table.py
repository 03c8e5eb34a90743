"""A comparison on the terminal: one column per variant, the best of each row marked."""

from collections.abc import Callable, Iterable, Iterator
from math import isfinite

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sim.insight.belief import doubts
from sim.insight.comparison import METRICS, Comparison, Difference
from sim.report.words import count, milliseconds, money, number, percent

_WORDS: dict[str, Callable[[float], str]] = {
    "rate": number,
    "number": number,
    "percent": percent,
    "ms": milliseconds,
    "usd": money,
    "count": lambda value: count(round(value)),
}
_SHOWN = (
    "request_goodput",
    "slo_attainment",
    "output_throughput",
    "mean_ttft_ms",
    "p99_ttft_ms",
    "mean_tpot_ms",
    "p99_tpot_ms",
    "prefix_cache_hit_rate",
    "usd_per_million_output_tokens",
    "batch_size_mean",
    "preemptions",
)
"""What fits a terminal; JSON has everything."""
_IF_ANY = ("prefix_cache_hit_rate", "preemptions")
"""Told only where they are not zero for all variants."""
_TOLD = ("request_goodput", "output_throughput", "p99_ttft_ms", "p99_tpot_ms", "usd_per_million_output_tokens")
_SURE = 0.95
_SMALL = 0.01
"""A difference of less than one per cent is not worth a sentence, however sure it is."""


def written(metric: str, value: float) -> str:
    """A metric's value as people read it."""
    return _WORDS[METRICS[metric].kind](value) if isfinite(value) else "-"


def print_comparison(comparison: Comparison, console: Console) -> None:
    """The table, then the differences that chance does not explain, then what to know."""
    seeds = f"{len(comparison.seeds)} seed{'s' * (len(comparison.seeds) > 1)}"
    console.print(Text(comparison.name, style="bold").append(Text(f"   {seeds}", style="not bold dim")))
    console.print(_table(comparison))
    for variant in comparison.variants[1:]:
        for told in sentences(comparison.variants[0], comparison.differences, variant):
            console.print(told, highlight=False)
    for variant, why in comparison.failed.items():
        console.print(Text(f"failed: {variant}: {why}", style="red"))
    first_seed = comparison.seeds[0]
    runs = {variant: comparison.summaries[variant, first_seed] for variant in comparison.variants}
    for note in (*comparison.notes, *doubts(runs)):
        console.print(Text(f"note: {note}", style="yellow"))


def sentences(first: str, differences: Iterable[Difference], variant: str) -> Iterator[str]:
    """Which differences of a variant from the first one can be claimed, and which figures are a tie."""
    ties = []
    for difference in differences:
        if difference.variant != variant or difference.metric not in _TOLD or not difference.first:
            continue
        if difference.better is None or difference.low is None or difference.high is None:
            continue
        label = METRICS[difference.metric].label
        change, low, high = (value / difference.first for value in (difference.change, difference.low, difference.high))
        sure = max(difference.better, 1 - difference.better)
        if sure < _SURE or abs(change) < _SMALL:
            ties.append(label)
            continue
        better, worse = (variant, first) if difference.better > 0.5 else (first, variant)
        told = ">99.9%" if sure > 0.999 else f"{sure:.1%}"
        yield f"{better} beats {worse} on {label} with {told} probability: {change:+.1%} [{low:+.1%}, {high:+.1%}]"
    if ties:
        yield f"{variant} and {first} tie on {', '.join(ties)}"


def _table(comparison: Comparison) -> Table:
    """Variants are rows: there may be many, and their names are long."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("variant", no_wrap=True)
    told = comparison.table.notna() & ~(comparison.table.eq(0) & comparison.table.columns.isin(_IF_ANY))
    shown = [name for name in _SHOWN if told[name].any()]
    for name in shown:
        label = METRICS[name].label
        table.add_column(label, justify="right", min_width=max(map(len, label.split())))
    best = {name: _best(comparison, name) for name in shown}
    for variant in comparison.variants:
        mark = " (saturated)" if comparison.saturated(variant) else ""
        values = {name: float(comparison.table[name][variant]) for name in shown}
        cells = [
            Text(written(name, value), "bold green" if value == best[name] else "") for name, value in values.items()
        ]
        table.add_row(Text(variant).append(Text(mark, style="red")), *cells)
    return table


def _best(comparison: Comparison, metric: str) -> float | None:
    more, values = METRICS[metric].more_is_better, comparison.table[metric].dropna()
    if more is None or values.nunique() < 2:
        return None
    return float(values.max() if more else values.min())
