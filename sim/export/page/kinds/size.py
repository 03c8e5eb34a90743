"""The fewest and the cheapest GPUs that carry a load."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sim.export.page import charts
from sim.export.page.section import Section, grid
from sim.export.saved import called, read_json
from sim.insight.cards import worst_belief
from sim.insight.comparison_table import written
from sim.insight.limits import what_must_hold
from sim.insight.size_table import COLUMNS
from sim.report import markup
from sim.report.colours import BLUE, PURPLE
from sim.report.folder import MARKS
from sim.report.words import count, money, percent

VERB = "size"
NOUN = "size"


def read(folder: Path) -> tuple[str, Mapping[str, Any]]:
    """`size.json`."""
    told = read_json(folder / MARKS[VERB], ("name", "sizes", "limits", "attainment"))
    return called(told["name"], folder), told


def section(told: Mapping[str, Any], key: str) -> Section:
    """Sizes."""
    found: Sequence[Mapping[str, Any]] = told["sizes"]
    enough = [one for one in found if one["replicas"]]
    validity = worst_belief({_kind(one): one for one in found})
    setting = what_must_hold(told["attainment"], told["limits"])
    body = _table(found) + grid(_charts(enough))
    return Section(_headline(enough), body, validity, told["made_with"], setting=setting)


def _kind(one: Mapping[str, Any]) -> str:
    return f"{one['gpu']} TP{one['tensor_parallel']}" if one["tensor_parallel"] > 1 else one["gpu"] or "the pools"


def _headline(enough: Sequence[Mapping[str, Any]]) -> str:
    if not enough:
        return "Nothing that was tried carries this load."
    best = enough[0]
    each = f", {best['tensor_parallel']} GPUs each" if best["tensor_parallel"] > 1 else ""
    told = f"{best['replicas']} replica{'s' * (best['replicas'] > 1)} of {best['gpu'] or 'the pools'}{each}"
    cost = f" for {money(best['usd_per_hour'])} an hour" if best["usd_per_hour"] is not None else ""
    met = best["metrics"].get("slo_attainment")
    how = f"; {percent(met)} of the requests meet the targets" if met is not None else ""
    cheapest = "the cheapest that carry" if len(enough) > 1 else "enough to carry"
    return f"{told}{cost} {'are' if best['replicas'] > 1 else 'is'} {cheapest} this load{how}."


def _table(found: Sequence[Mapping[str, Any]]) -> str:
    rows: list[list[markup.Cell]] = []
    for place, one in enumerate(found):
        kind = [one["gpu"] or "pools", str(one["tensor_parallel"] or "-")]
        if not one["replicas"]:
            rows.append([*kind, *["-"] * 7, (one["why"], "word")])
            continue
        replicas = ", ".join(f"{name} {n}" for name, n in one["pools"].items()) or count(one["replicas"])
        metrics = one["metrics"]
        figures = (
            "-" if metrics.get(name) is None else written(name, metrics[name])
            for name in ("slo_attainment", "p99_ttft_ms", "p99_tpot_ms")
        )
        usd = "-" if one["usd_per_hour"] is None else money(one["usd_per_hour"])
        busy = percent(1 - (one["gpu_time"].get("starved") or 0.0))
        cost: markup.Cell = usd if place else (usd, "best")
        rows.append([*kind, replicas, count(one["gpus"]), cost, *figures, busy, (one["why"], "word")])
    return markup.table(COLUMNS, rows)


def _charts(enough: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    if not enough:
        return []
    names = [charts.plain(_kind(one)) for one in enough]
    figures = []
    if all(one["usd_per_hour"] is not None for one in enough):
        prices = [one["usd_per_hour"] for one in enough]
        wide = {"range": [0, 1.25 * max(prices)], "showticklabels": False}
        made = charts.bars(names, charts.numbers(prices), [money(usd) for usd in prices], PURPLE)
        figures.append(charts.figure("$ an hour", [made], xaxis=wide, yaxis=charts.TOP_DOWN))
    gpus = [one["gpus"] for one in enough]
    wide = {"range": [0, 1.25 * max(gpus)], "showticklabels": False}
    made = charts.bars(names, gpus, [count(one) for one in gpus], BLUE)
    figures.append(charts.figure("GPUs", [made], xaxis=wide, yaxis=charts.TOP_DOWN))
    shown = {"tickformat": charts.PERCENT, "range": [0, 1]}
    split = charts.gpu_time({name: one["gpu_time"] for name, one in zip(names, enough, strict=True)})
    time = charts.figure("GPU time", split, barmode="stack", xaxis=shown, yaxis=charts.TOP_DOWN)
    height = 110 + 32 * len(enough)
    return [
        charts.chart("What is enough", *figures, height=height),
        charts.chart("Where its GPU time goes", time, height=height + 40),
    ]
