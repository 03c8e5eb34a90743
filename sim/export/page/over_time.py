"""What a run was like at every moment, and several of them in the same charts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from sim.export.page import charts
from sim.report.colours import AMBER, BLUE, GREEN, ORANGE, PURPLE, SKY

_TIME = "time [s]"
_COMPARED = {
    "queued": ("queue_depth", "requests", ""),
    "running": ("running", "requests", ""),
    "KV cache in use": ("kv_used_fraction", "", charts.PERCENT),
    "GPUs busy": ("gpu_busy_fraction", "", charts.PERCENT),
    "output tokens": ("output_tokens_per_s", "tokens/s", ""),
    "TTFT p99 by arrival": ("ttft_p99_s", "s", ""),
}


def over_time(timeline: pd.DataFrame, key: str) -> Iterator[str]:
    """Queue and batch, KV cache, arrivals, tokens, TTFT, GPUs and replicas over time; they zoom together."""
    middle = middles(timeline)

    def column(name: str) -> list[float | None]:
        return charts.numbers(timeline[name])

    shown: dict[str, tuple[str, list[charts.Trace]]] = {
        "Queue and batch, all replicas": ("requests", [
            charts.line(middle, column("running"), "running", GREEN, fill=True),
            charts.line(middle, column("queue_depth"), "queued", ORANGE),
        ]),
        "KV cache in use": ("%", [charts.line(middle, column("kv_used_fraction"), "KV cache", PURPLE, fill=True)]),
        "Arrivals": ("requests/s", [charts.line(middle, column("arrivals_per_s"), "arrivals", BLUE, fill=True)]),
        "Tokens": ("tokens/s", [
            charts.line(middle, column("prefill_tokens_per_s"), "prefill", SKY),
            charts.line(middle, column("output_tokens_per_s"), "output", BLUE, fill=True),
        ]),
        "TTFT by arrival": ("s", [
            charts.line(middle, column("ttft_p50_s"), "p50", BLUE),
            charts.line(middle, column("ttft_p99_s"), "p99", ORANGE),
        ]),
    }  # fmt: skip
    if "replicas_held" in timeline:
        shown["Replicas"] = ("replicas", [
            charts.line(middle, column("replicas_held"), "held", AMBER),
            charts.line(middle, column("replicas_serving"), "serving", GREEN),
            charts.line(middle, column("replicas_busy"), "busy", BLUE, fill=True),
        ])  # fmt: skip
    for title, (unit, traces) in shown.items():
        percent = unit == "%"
        axis: dict[str, Any] = {"rangemode": "tozero"} | ({"tickformat": charts.PERCENT} if percent else {})
        named = "" if percent else unit
        made = charts.figure(title, traces, _TIME, named, yaxis=axis, hovermode="x unified", showlegend=len(traces) > 1)
        yield charts.chart(title, made, link=key)


def compared_over_time(timelines: Mapping[str, pd.DataFrame]) -> str:
    """One column of several runs' timelines in one chart; the reader chooses which."""
    figures = []
    for label, (name, unit, style) in _COMPARED.items():
        traces = [
            charts.line(middles(timeline), charts.numbers(timeline[name]), charts.plain(run), **charts.nth(place))
            for place, (run, timeline) in enumerate(timelines.items())
            if len(timeline)
        ]
        axis = {"rangemode": "tozero"} | ({"tickformat": style} if style else {})
        figures.append(charts.figure(label, traces, _TIME, unit, yaxis=axis))
    return charts.chart("Over time", *figures, height=300)


def middles(timeline: pd.DataFrame) -> Sequence[float | None]:
    """The middle of each bucket, in seconds."""
    return charts.numbers(timeline["time_s"] + timeline["width_s"] / 2)
