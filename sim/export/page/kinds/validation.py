"""A real run beside the simulated one."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sim.export.page import charts
from sim.export.page.section import Section, grid
from sim.export.saved import called, read_json, unreadable
from sim.metrics.latency import QUANTILES
from sim.metrics.series import requests_between
from sim.report import markup
from sim.report.colours import BLUE, INK, ORANGE, SKY
from sim.report.validation import validation_tables
from sim.report.words import count, error

VERB = "validate"
NOUN = "validation"
_NAMES = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "E2E"}
_SIDES = {"measured": INK, "simulated": BLUE}
_BUCKETS = 240
_MOST_POINTS = 2000

Read = tuple[Mapping[str, Any], pd.DataFrame]


def read(folder: Path) -> tuple[str, Read]:
    """`validation.json`, and the requests of both sides."""
    told = read_json(folder / "validation.json", ("name", "metrics", "throughput", "divergence", "requests", "stages"))
    try:
        requests = pd.read_csv(folder / "requests.csv")
    except (OSError, ValueError) as error:
        raise unreadable(folder, VERB, error) from error
    return called(told["name"], folder), (told, requests)


def section(saved: Read, key: str) -> Section:
    """A validation."""
    told, requests = saved
    parts = [*map(markup.of_terminal, validation_tables(dict(told)))]
    parts.append(grid(_charts(requests)))
    if told["warnings"]:
        parts.append(f"<h3>To know</h3>{markup.bullets(told['warnings'])}")
    gpus = told["tensor_parallel"] * told["replicas"]
    counts = told["requests"]
    setting = (
        f"{told['model']} · {gpus} x {told['gpu']} · {told['measured_file']}: {count(counts['compared'])} requests"
    )
    return Section(_headline(told), "".join(parts), told.get("validity"), told["made_with"], setting=setting)


def _headline(told: Mapping[str, Any]) -> str:
    if told["diverged"]:
        return f"The two runs diverge: {'; '.join(told['divergence']['reasons'])}."
    means = {label: told["metrics"][name]["mean"]["error"] for name, label in _NAMES.items() if told["metrics"][name]}
    off = ", ".join(f"{label} {error(share)}" for label, share in means.items() if share is not None)
    return f"Simulated against measured, the means are off by: {off}; the runs do not diverge."


def _charts(requests: pd.DataFrame) -> Iterator[str]:
    arrival = requests["arrival_s"].to_numpy(np.float64)
    ends = {side: arrival + requests[f"{side}_e2e_s"].to_numpy(np.float64) for side in _SIDES}
    edges = np.linspace(0.0, max(float(end.max()) for end in ends.values()), _BUCKETS + 1)
    middle = charts.numbers((edges[:-1] + edges[1:]) / 2)
    flying = [
        charts.line(middle, charts.numbers(requests_between(arrival, end, edges) / np.diff(edges)), side, _SIDES[side])
        for side, end in ends.items()
    ]
    made = charts.figure("in flight", flying, "time [s]", "requests", yaxis={"rangemode": "tozero"})
    yield charts.chart("Requests in flight", made)
    spreads, points = [], []
    rows = requests.iloc[np.unique(np.linspace(0, len(requests) - 1, _MOST_POINTS).astype(int))]
    for name, label in _NAMES.items():
        columns = {side: requests[f"{side}_{name}_s"].dropna().to_numpy() for side in _SIDES}
        if not all(values.size for values in columns.values()):
            continue
        lines = [
            charts.line(charts.numbers(np.quantile(values, QUANTILES)), charts.numbers(QUANTILES), side, _SIDES[side])
            for side, values in columns.items()
        ]
        least, most = (pick(np.concatenate(list(columns.values()))) for pick in (np.min, np.max))
        spread = {"type": "log" if least > 0 and most > 20 * least else "linear"}
        percent = {"tickformat": charts.PERCENT}
        spreads.append(charts.figure(label, lines, f"{label} [s]", "share of requests", xaxis=spread, yaxis=percent))
        both = {
            "type": "scatter", "mode": "markers", "name": "requests", "marker": {"size": 4, "color": SKY},
            "x": charts.numbers(rows[f"measured_{name}_s"]), "y": charts.numbers(rows[f"simulated_{name}_s"]),
        }  # fmt: skip
        ends_at = charts.numbers((least, most))
        right = charts.line(ends_at, ends_at, "no error", ORANGE, dash="dash")
        axes = {"xaxis": spread, "yaxis": spread}
        points.append(charts.figure(label, [both, right], f"measured {label} [s]", f"simulated {label} [s]", **axes))
    yield charts.chart("Latency distributions", *spreads)
    note = f"{count(len(rows))} of {count(len(requests))} requests are drawn" if len(rows) < len(requests) else ""
    yield charts.chart("Request by request", *points, height=330, note=note)
