"""Comparisons, diagnoses and sweeps as pieces of HTML, which notebooks and the report page show."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from math import isfinite
from typing import TYPE_CHECKING, Any

from rich.table import Table as RichTable
from rich.text import Text

from sim.insight.belief import general, of_runs
from sim.insight.comparison import METRICS, Comparison
from sim.insight.comparison_table import SMALL, best, written
from sim.insight.comparison_table import claims as claimed
from sim.insight.comparison_table import ties as tied
from sim.insight.difference import Difference
from sim.report import markup
from sim.report.words import changed, milliseconds, number, percent, plural

if TYPE_CHECKING:
    from sim.insight.sweeps import Sweep

Metrics = Mapping[str, float]
_SCORES = ("good/s", "good", "TTFT p99", "TPOT p99", "$/h", "good per $")
_MOST_FIXES, _MOST_POINTS = 20, 20
_OF_A_POINT = (
    "request_goodput", "slo_attainment", "output_throughput", "p99_ttft_ms", "p99_tpot_ms",
    "usd_per_million_output_tokens",
)  # fmt: skip


def comparison_card(comparison: Comparison) -> str:
    """What notebooks show of a comparison."""
    told = comparison.summary()
    metrics = {name: {key: float(comparison.table[key][name]) for key in METRICS} for name in comparison.variants}
    saturated = {name: comparison.saturated(name) for name in comparison.variants}
    about = f"{plural(len(comparison.variants), 'variant')}, {plural(len(comparison.seeds), 'seed')}"
    head = f"<p><b>{escape(comparison.name)}</b> {about}</p>"
    return markup.card(
        head, beliefs(told["variants"]), metrics_table(metrics, saturated, ties=ties(told)), claims(told)
    )


def report_card(parts: Iterable[RichTable | Text]) -> str:
    """What notebooks show of an answer that the terminal gives as tables and sentences."""
    return markup.card(*map(markup.of_terminal, parts))


def diagnosis_card(told: Mapping[str, Any]) -> str:
    """What notebooks show of a diagnosis (`Diagnosis.summary()`)."""
    head = f"<p><b>{escape(told['name'])}</b> {escape(diagnosis_headline(told))}</p>"
    about = markup.paragraph(f"step times: {told['provenance']}; {told['runs']} runs", "faint")
    return markup.card(head, about, *diagnosis_parts(told))


def sweep_card(sweep: Sweep) -> str:
    """What notebooks show of a sweep: the points that no other beats."""
    rows = sweep.table[sweep.table["frontier"]].head(_MOST_POINTS).to_dict("records")
    about = f"{plural(len(sweep.points), 'point')}, {len(sweep.frontier)} that no other beats"
    head = f"<p><b>{escape(sweep.name)}</b> {about}</p>"
    return markup.card(head, points_table(list(sweep.keys), rows))


def metrics_table(
    metrics: Mapping[str, Metrics],
    saturated: Mapping[str, bool],
    *,
    slo: Mapping[str, Mapping[str, float | None] | None] | None = None,
    ties: Collection[tuple[str, str]] = (),
) -> str:
    """One column per variant, one row per metric that any of them has; the best of each row is marked.

    Below each value is its difference from the first variant's, coloured where it is better or worse by a per cent or
    more and not among the `ties`, (variant, metric). With `slo`, targets in ms by variant, what misses one is marked.
    """
    shown = [name for name in METRICS if any(values[name] == values[name] for values in metrics.values())]
    first = next(iter(metrics), "")
    rows: list[list[markup.Cell]] = []
    for name in shown:
        top = best(name, [values[name] for values in metrics.values()])
        cells: list[markup.Cell] = []
        for variant, values in metrics.items():
            style, beside = _against(name, values[name], metrics[first][name], (variant, name) in ties)
            target = ((slo or {}).get(variant) or {}).get(name.partition("_")[2])
            missed = target is not None and name.startswith("p99_") and values[name] > target
            first_rank = values[name] == top and (variant, name) not in ties
            styles = (style, "best" if first_rank else "", "miss" if missed else "")
            said = (beside if variant != first else "", "over the SLO" if missed else "")
            cells.append((written(name, values[name]), " ".join(filter(None, styles)), ", ".join(filter(None, said))))
        rows.append([METRICS[name].label, *cells])
    headers = [f"{variant} (saturated)" if saturated[variant] else variant for variant in metrics]
    return markup.table(("", *headers), rows, caption="")


def _against(metric: str, value: float, first: float, tie: bool) -> tuple[str, str]:
    """How a value differs from the first variant's: a CSS class, and words."""
    if not (isfinite(value) and isfinite(first)) or not first:
        return "", ""
    change = value / first - 1
    if tie:
        return "", f"{changed(change)}, a tie"
    more = METRICS[metric].more_is_better
    if more is None or abs(change) < SMALL:
        return "", changed(change)
    return "better" if (change > 0) == more else "worse", changed(change)


def ties(told: Mapping[str, Any]) -> set[tuple[str, str]]:
    """The differences of a comparison (`Comparison.summary()`) that cannot be claimed: (variant, metric)."""
    return tied(Difference(**one) for one in told["differences"])


def worst_belief(variants: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The worst verdict of several runs, and which of them say what, as one run's summary says it."""
    known = {name: variant["validity"] for name, variant in variants.items() if variant.get("validity")}
    if not known:
        return None
    worst = next(word for word in ("no", "with care", "yes") if word in {found["believe"] for found in known.values()})
    why: dict[str, list[str]] = {}
    for name, found in known.items():
        for reason in found["why"]:
            why.setdefault(general(reason), []).append(name)
    told = [reason + of_runs(names, len(known)) for reason, names in why.items()]
    least = min(found["finished_requests"] for found in known.values())
    return {"believe": worst, "why": told, "finished_requests": least}


def beliefs(variants: Mapping[str, Mapping[str, Any]]) -> str:
    """The validity box of several runs."""
    found = worst_belief(variants)
    return markup.validity_box(found) if found else ""


def claims(told: Mapping[str, Any]) -> str:
    """Which differences of a comparison (`Comparison.summary()`) can be claimed, what failed, and what to know."""
    differences = [Difference(**difference) for difference in told["differences"]]
    return markup.bullets(
        [
            *claimed(list(told["variants"]), differences, told.get("identical", {})),
            *(f"failed: {name}: {why}" for name, why in told["failed"].items()),
            *(f"note: {note}" for note in told["notes"]),
        ]
    )


def diagnosis_headline(told: Mapping[str, Any]) -> str:
    """What binds, and what the best fixes come to, in a sentence."""
    today, together = told["today"], told["together"]
    headline = (
        f"{number(today['goodput'])} of {number(told['offered_per_s'])} requests/s are good "
        f"({percent(today['attainment'])})"
    )
    if binding := [one["bottleneck"] for one in told["bottlenecks"] if one["binds"]]:
        headline += f"; what holds it back: {', '.join(binding)}"
    if together["fixes"]:
        headline += f"; with the best fixes together {number(together['score']['goodput'])}"
    return f"{headline}."


def diagnosis_parts(told: Mapping[str, Any], between: str = "") -> list[str]:
    """What holds it back, `between`, every fix with its score, and the best together."""
    today, together = told["today"], told["together"]
    binding = [one for one in told["bottlenecks"] if one["binds"]]
    others = [one["bottleneck"] for one in told["bottlenecks"] if not one["binds"]]
    fixes: list[list[str]] = [[fix["lines"], fix["against"], *_score(fix)] for fix in told["fixes"][:_MOST_FIXES]]
    lines = "\n".join(fix["lines"] for fix in together["fixes"])
    return [
        "<h3>What holds it back</h3>",
        markup.bullets(map(_binding, binding)) or markup.paragraph("Nothing: no bottleneck, taken away, gains 2%."),
        markup.paragraph(f"not: {', '.join(others)}", "faint") if others else "",
        between,
        "<h3>What would help, each by itself</h3>",
        markup.table(("line to write", "against", *_SCORES), [["today", "", *_score(today)], *fixes], words=2),
        f"<h3>Best together; paste these lines</h3><pre>{escape(lines)}</pre>" if lines else "",
        markup.bullets(f"note: {warning}" for warning in told["warnings"]),
    ]


def points_table(keys: Sequence[str], rows: Sequence[Mapping[Any, Any]]) -> str:
    """Points of a sweep: their keys and the chief metrics."""
    shown = [name for name in _OF_A_POINT if any(row.get(name, float("nan")) == row.get(name) for row in rows)]
    cells: list[list[markup.Cell]] = [
        [*(str(row[key]) for key in keys), *(written(name, row[name]) for name in shown)] for row in rows
    ]
    return markup.table((*keys, *(METRICS[name].label for name in shown)), cells, words=len(keys))


def _binding(one: Mapping[str, Any]) -> str:
    without = f", {number(one['goodput_without'])} good requests/s with {one['without']}" if one["without"] else ""
    return f"{one['bottleneck']}{without}: {one['evidence']}"


def _score(one: Mapping[str, Any]) -> list[str]:
    return [
        number(one["goodput"]), percent(one["attainment"]), milliseconds(one["p99_ttft_ms"]),
        milliseconds(one["p99_tpot_ms"]), number(one["usd_per_hour"]), number(one["per_usd"]),
    ]  # fmt: skip
