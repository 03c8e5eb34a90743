"""A comparison on the terminal: one column per variant, the best of each row marked."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isfinite

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sim.insight.belief import doubts
from sim.insight.comparison import METRICS, Comparison
from sim.insight.difference import Difference
from sim.report.words import count, milliseconds, money, number, percent, plural

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
SMALL = 0.01
"""A difference of less than one per cent wins nothing, however sure it is."""
_WHY = {
    "model": "step times may be off by more",
    "seeds": "the seeds differ by as much (more --seeds may tell)",
}


def written(metric: str, value: float) -> str:
    """A metric's value as people read it."""
    return _WORDS[METRICS[metric].kind](value) if isfinite(value) else "-"


def print_comparison(comparison: Comparison, console: Console) -> None:
    """The table, then the differences that chance does not explain, then what to know."""
    seeds = plural(len(comparison.seeds), "seed")
    console.print(Text(comparison.name, style="bold").append(Text(f"   {seeds}", style="not bold dim")))
    console.print(_table(comparison))
    for told in claims(comparison.variants, comparison.differences, comparison.identical):
        console.print(told, highlight=False)
    for variant, why in comparison.failed.items():
        console.print(Text(f"failed: {variant}: {why}", style="red"))
    first_seed = comparison.seeds[0]
    runs = {variant: comparison.summaries[variant, first_seed] for variant in comparison.variants}
    for note in (*comparison.notes, *doubts(runs)):
        console.print(Text(f"note: {note}", style="yellow"))


def claims(variants: Sequence[str], differences: Iterable[Difference], identical: Mapping[str, str]) -> Iterator[str]:
    """What can be said of each variant but the first, against the first."""
    known = list(differences)
    for variant in variants[1:]:
        if variant in identical:
            yield f"{variant} is identical to {identical[variant]}: both resolve to the same configuration"
        if identical.get(variant) != variants[0]:
            yield from _sentences(variants[0], [one for one in known if one.variant == variant])


def _sentences(first: str, differences: Iterable[Difference]) -> Iterator[str]:
    """Which differences can be claimed, and which figures are a tie, and why.

    One beats the other where the interval of their difference, the model's error included, leaves out 0; what is told
    is the winner's own change, against the loser.
    """
    ties: dict[str, list[str]] = {}
    variant = ""
    for one in differences:
        variant = one.variant
        if one.low is None or one.high is None or one.better is None or one.metric not in _TOLD or not one.first:
            continue
        label = METRICS[one.metric].label
        change, low, high = (value / one.first for value in (one.change, one.low, one.high))
        if one.sure and abs(change) >= SMALL and one.value:
            yield _beats(first, one, label)
        elif one.change == 0:
            ties.setdefault("no difference", []).append(label)
        elif one.sure:
            ties.setdefault("less than 1% apart", []).append(f"{label} ({change:+.2%})")
        else:
            told = f"{label} ({change:+.1%} [{low:+.1%}, {high:+.1%}])"
            ties.setdefault(_WHY[one.doubt or "seeds"], []).append(told)
    for why, told_of in ties.items():
        yield f"{variant} ties with {first} on {', '.join(told_of)}: {why}"


def _beats(first: str, one: Difference, label: str) -> str:
    assert one.low is not None and one.high is not None and one.better is not None
    won = one.better > 0.5
    winner, loser, against = (one.variant, first, one.first) if won else (first, one.variant, one.value)
    near, far = sorted((abs(one.low / against), abs(one.high / against)))
    way = "lower" if METRICS[one.metric].more_is_better is False else "higher"
    far = min(far, 1.0) if way == "lower" else far
    change = abs(one.change / against)
    return f"{winner} beats {loser} on {label}: {change:.1%} {way} (95% sure: {near:.1%} to {far:.1%})"


def ties(differences: Iterable[Difference]) -> set[tuple[str, str]]:
    """The differences that cannot be claimed, though their interval is known: (variant, metric)."""
    return {(one.variant, one.metric) for one in differences if one.low is not None and not one.sure}


def best(metric: str, values: Iterable[float]) -> float | None:
    """The best value of a metric; None where there is none, or several read the same."""
    known = [value for value in values if isfinite(value)]
    more = METRICS[metric].more_is_better
    if more is None or len(known) < 2:
        return None
    found = max(known) if more else min(known)
    return found if [written(metric, value) for value in known].count(written(metric, found)) == 1 else None


def _table(comparison: Comparison) -> Table:
    """Variants are rows: there may be many, and their names are long."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("variant", no_wrap=True)
    told = comparison.table.notna() & ~(comparison.table.eq(0) & comparison.table.columns.isin(_IF_ANY))
    shown = [name for name in _SHOWN if told[name].any()]
    for name in shown:
        label = METRICS[name].label
        table.add_column(label, justify="right", min_width=max(map(len, label.split())))
    marked = {name: best(name, comparison.table[name]) for name in shown}
    tied = ties(comparison.differences)
    for variant in comparison.variants:
        mark = " (saturated)" if comparison.saturated(variant) else ""
        values = {name: float(comparison.table[name][variant]) for name in shown}
        cells = [
            Text(written(name, value), "bold green" if value == marked[name] and (variant, name) not in tied else "")
            for name, value in values.items()
        ]
        table.add_row(Text(variant).append(Text(mark, style="red")), *cells)
    return table
