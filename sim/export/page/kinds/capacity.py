"""The highest rates that meet the targets, and the rates that were tried."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sim.export.page import charts
from sim.export.page.section import Section, grid
from sim.export.saved import called, read_json
from sim.insight.cards import worst_belief
from sim.insight.comparison import METRICS
from sim.insight.comparison_table import written
from sim.insight.limits import parse_limit, what_must_hold
from sim.report import markup
from sim.report.colours import BLUE, FAINT, GREEN, PURPLE
from sim.report.folder import MARKS
from sim.report.words import number

VERB = "capacity"
NOUN = "capacity"
_AT_IT = ("slo_attainment", "p99_ttft_ms", "p99_tpot_ms", "output_throughput", "batch_size_mean", "kv_occupancy_mean")


def read(folder: Path) -> tuple[str, Mapping[str, Any]]:
    """`capacity.json`."""
    told = read_json(folder / MARKS[VERB], ("name", "capacities", "limits", "attainment"))
    return called(told["name"], folder), told


def section(told: Mapping[str, Any], key: str) -> Section:
    """Capacities."""
    found: Sequence[Mapping[str, Any]] = told["capacities"]
    notes = [f"{one['variant']}: {note}" for one in found for note in one["notes"] if not note.startswith("believe ")]
    parts = [
        _table(found),
        grid([*_bars(found), *_trials(told)]),
        f"<h3>To know</h3>{markup.bullets(notes)}" if notes else "",
    ]
    validity = worst_belief({one["variant"]: one for one in found})
    setting = f"{found[0]['gpus']} GPUs; {what_must_hold(told['attainment'], told['limits'])}"
    return Section(_headline(found), "".join(parts), validity, told["made_with"], setting=setting)


def _headline(found: Sequence[Mapping[str, Any]]) -> str:
    best = max(found, key=lambda one: one["rate_per_s"])
    if not best["rate_per_s"]:
        return "No rate meets the targets, however low."
    per_usd = f", {number(best['requests_per_usd'])} for a dollar" if best["requests_per_usd"] else ""
    who = f"{best['variant']} carries the most" if len(found) > 1 else "It carries"
    told = f"{who}: {number(best['rate_per_s'])} requests/s ({number(best['per_gpu'])} per GPU{per_usd})"
    if best["binding"]:
        told += f"; above that fails: {best['binding']}"
    if len(found) > 1 and found[0] is not best and found[0]["rate_per_s"]:
        told += f"; {found[0]['variant']} carries {number(found[0]['rate_per_s'])}"
    return f"{told}."


def _table(found: Sequence[Mapping[str, Any]]) -> str:
    shown = [name for name in _AT_IT if any(one["metrics"].get(name) is not None for one in found)]
    headers = ("variant", "requests/s", "per GPU", "per $", "above it fails", *(METRICS[name].label for name in shown))
    rows: list[list[markup.Cell]] = []
    for one in found:
        figures = (one["rate_per_s"], one["per_gpu"], one["requests_per_usd"])
        values = (one["metrics"].get(name) for name in shown)
        rows.append(
            [
                one["variant"], *(number(value) if value else "-" for value in figures),
                (one["binding"] or "-", "word"),
                *("-" if value is None else written(name, value) for name, value in zip(shown, values, strict=True)),
            ]
        )  # fmt: skip
    return markup.table(headers, rows, caption="At the highest rate that passes")


def _bars(found: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    names = [charts.plain(one["variant"]) for one in found]
    figures = []
    for field, label, colour in (
        ("rate_per_s", "requests/s", GREEN),
        ("per_gpu", "requests/s per GPU", BLUE),
        ("requests_per_usd", "requests per $", PURPLE),
    ):
        values = [one[field] or 0.0 for one in found]
        if any(values):
            wide = {"range": [0, 1.25 * max(values)], "showticklabels": False}
            texts = [number(value) for value in values]
            made = charts.bars(names, charts.numbers(values), texts, colour)
            figures.append(charts.figure(label, [made], xaxis=wide, yaxis=charts.TOP_DOWN))
    return [charts.chart("The highest rate", *figures, height=110 + 32 * len(found))]


def _trials(told: Mapping[str, Any]) -> Sequence[str]:
    """Every figure that a limit is on, over the rates that were tried; hollow where a limit broke."""
    bounds = {"slo_attainment": told["attainment"]}
    bounds |= {limit.metric: limit.bound for limit in map(parse_limit, told["limits"])}
    figures = []
    for metric, bound in bounds.items():
        traces, rates = [], []
        for place, one in enumerate(told["capacities"]):
            trials = [trial for trial in one["trials"] if trial["values"].get(metric) is not None]
            if not trials:
                continue
            x = [trial["rate_per_s"] for trial in trials]
            y = [trial["values"][metric] for trial in trials]
            line = charts.line(charts.numbers(x), charts.numbers(y), charts.plain(one["variant"]), **charts.nth(place))
            symbols = ["circle-open" if trial["broke"] else "circle" for trial in trials]
            texts = [charts.plain(f"breaks {trial['broke']}" if trial["broke"] else "passes") for trial in trials]
            marked = {"mode": "lines+markers", "marker": {"symbol": symbols, "size": 8}, "text": texts}
            traces.append(line | marked | {"hovertemplate": "%{x:.3g} requests/s: %{y:.4g}, %{text}"})
            rates += x
        if traces:
            traces.append(charts.line([min(rates), max(rates)], [bound, bound], "limit", FAINT, dash="dash"))
            axis = {"tickformat": charts.PERCENT} if metric == "slo_attainment" else {}
            named = METRICS[metric].label if metric in METRICS else metric
            figures.append(charts.figure(named, traces, "requests/s", named, yaxis=axis))
    return [charts.chart("The rates that were tried", *figures, height=300, note="hollow: a limit breaks there")]
