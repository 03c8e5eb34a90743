"""One run: can it be believed, what came out, over time, by request, by replica, and what it was made with."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from sim.export.page import charts
from sim.export.page.replicas import replica_table, replica_views
from sim.export.page.requests import explore_requests, slowest, slowest_lives
from sim.export.saved import SavedRun
from sim.report import card, markup
from sim.report.colours import AMBER, BLUE, FAINT, GREEN, ORANGE, PURPLE, SKY
from sim.report.terminal import breakdowns, engine, traffic

_TIME = "time [s]"
_CDF_POINTS = 300
_LATENCIES = {"ttft": ("TTFT", "ttft_s", BLUE), "tpot": ("TPOT", "tpot_s", GREEN), "e2el": ("E2E", "e2e_s", ORANGE)}


def run_section(run: SavedRun, key: str) -> str:
    """The section of one run; `key` tells its charts from other runs'."""
    summary = dict(run.summary)
    parts = [card.headline(summary), markup.validity_box(summary["validity"]), *card.figures(summary)]
    pairs = (markup.table(("", ""), rows) for rows in (traffic(summary), engine(summary)))
    parts.append(f'<div class="side">{"".join(pairs)}</div>')
    if told := breakdowns(summary):
        parts.append("<h3>Told apart</h3>" + "".join(map(markup.of_terminal, told)))
    if summary["warnings"]:
        parts.append(f"<h3>To know</h3>{markup.bullets(summary['warnings'])}")
    parts.append("<h3>Over time</h3>" + _grid(over_time(run.timeline, key)))
    parts.append("<h3>By request</h3>" + _grid([distributions(run), *slowest_lives(run.requests)]))
    parts += [explore_requests(run.requests), slowest(run.requests)]
    parts.append("<h3>By replica</h3>" + _grid(replica_views(run)) + replica_table(run))
    parts.append(_details("The resolved scenario", f"<pre>{escape(run.scenario)}</pre>"))
    parts.append(_details("Provenance", provenance(summary)))
    return "".join(parts)


def over_time(timeline: pd.DataFrame, key: str) -> Iterator[str]:
    """Arrivals, queue and batch, KV cache, tokens, GPUs and TTFT over time; they zoom together."""
    if timeline.empty:
        yield markup.paragraph("Nothing ran, so nothing is drawn over time.", "faint")
        return
    middle = charts.numbers(timeline["time_s"] + timeline["width_s"] / 2)

    def column(name: str) -> list[float | None]:
        return charts.numbers(timeline[name])

    shown = {
        "Queue and batch": ("requests", [
            charts.line(middle, column("running"), "running", GREEN, fill=True),
            charts.line(middle, column("queue_depth"), "queued", ORANGE),
        ], {}),
        "KV cache in use": ("", [charts.line(middle, column("kv_used_fraction"), "KV cache", PURPLE, fill=True)], "%"),
        "Arrivals": ("requests/s", [charts.line(middle, column("arrivals_per_s"), "arrivals", BLUE, fill=True)], {}),
        "Tokens": ("tokens/s", [
            charts.line(middle, column("prefill_tokens_per_s"), "prefill", SKY),
            charts.line(middle, column("output_tokens_per_s"), "output", BLUE, fill=True),
        ], {}),
        "TTFT by arrival": ("s", [
            charts.line(middle, column("ttft_p50_s"), "p50", BLUE),
            charts.line(middle, column("ttft_p99_s"), "p99", ORANGE),
        ], {}),
        "GPUs busy": ("", [charts.line(middle, column("gpu_busy_fraction"), "busy", AMBER, fill=True)], "%"),
    }  # fmt: skip
    for title, (unit, traces, kind) in shown.items():
        axis: dict[str, Any] = {"rangemode": "tozero"} | ({"tickformat": ".0%"} if kind == "%" else {})
        made = charts.figure(title, traces, _TIME, unit, yaxis=axis, hovermode="x unified", showlegend=len(traces) > 1)
        yield charts.chart(title, made, link=key)


def distributions(run: SavedRun) -> str:
    """How TTFT, TPOT and E2E are spread over the measured requests that finished, with the targets as lines."""
    rows = run.requests[run.requests["measured"] & (run.requests["status"] == "finished")]
    slo = run.summary["slo"] or {}
    figures = []
    for name, (label, column, colour) in _LATENCIES.items():
        values = np.sort(rows[column].dropna().to_numpy())
        if not values.size:
            continue
        share = np.linspace(0, 1, min(len(values), _CDF_POINTS))
        at = charts.numbers(np.quantile(values, share))
        traces = [charts.line(at, charts.numbers(share), label, colour)]
        if (target := slo.get(f"{name}_ms")) is not None:
            traces.append(charts.line([target / 1e3] * 2, [0, 1], "SLO", FAINT, dash="dash"))
        axis = {"type": "log" if values[0] > 0 and values[-1] > 20 * values[0] else "linear"}
        figures.append(
            charts.figure(label, traces, f"{label} [s]", "share of requests", xaxis=axis, yaxis={"tickformat": ".0%"})
        )
    return charts.chart("Latency distributions", *figures) if figures else ""


def provenance(summary: Mapping[str, Any]) -> str:
    """What the numbers rest on, as a table of dotted names."""
    made = {"made_with": summary["made_with"], "memory_per_gpu": summary["memory_per_gpu"]}
    return markup.table(("", ""), ((name, str(value)) for name, value in _flat(made)), words=2)


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{above}{key}.")
        else:
            yield f"{above}{key}", inner


def _grid(parts: Any) -> str:
    return f'<div class="charts">{"".join(parts)}</div>'


def _details(title: str, html: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{html}</details>"
