"""How latencies are spread: the share of requests at or under each, of one run or of several."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sim.export.page import charts
from sim.metrics.latency import QUANTILES
from sim.report.colours import FAINT

NAMES = {"ttft": "TTFT", "tpot": "TPOT", "e2el": "E2E"}
_COLUMNS = {"ttft": "ttft_s", "tpot": "tpot_s", "e2el": "e2e_s"}

Curves = Mapping[str, Sequence[float]]
"""By name, seconds at each share of QUANTILES; empty where there are none."""


def curves_of(requests: pd.DataFrame) -> Curves:
    """The latencies of the measured requests that finished."""
    rows = requests[requests["measured"] & (requests["status"] == "finished")]
    found = {}
    for name, column in _COLUMNS.items():
        values = rows[column].dropna().to_numpy()
        found[name] = np.quantile(values, QUANTILES).tolist() if values.size else []
    return found


def distributions(runs: Mapping[str, Curves], slo: Mapping[str, float | None], note: str = "") -> str:
    """One figure for each latency with a line for each run; targets, in ms, are dashed."""
    figures = []
    share = charts.numbers(QUANTILES)
    for name, label in NAMES.items():
        known = {run: curves[name] for run, curves in runs.items() if curves.get(name)}
        if not known:
            continue
        traces = []
        for place, (run, values) in enumerate(known.items()):
            called = charts.plain(run) if len(runs) > 1 else label
            line = charts.line(charts.numbers(values), share, called, **charts.nth(place))
            traces.append(line | {"hovertemplate": f"%{{y:.1%}} at or under %{{x:.3g}} s<extra>{called}</extra>"})
        if (target := slo.get(f"{name}_ms")) is not None:
            traces.append(charts.line([target / 1e3] * 2, [0, 1], "SLO", FAINT, dash="dash"))
        figures.append(charts.figure(label, traces, f"{label} [s]", "share of requests", **_axes(known.values())))
    return charts.chart("Latency distributions", *figures, height=300, note=note)


def _axes(curves: Any) -> dict[str, Any]:
    least = min(values[0] for values in curves)
    most = max(values[-1] for values in curves)
    spread = "log" if least > 0 and most > 20 * least else "linear"
    return {"xaxis": {"type": spread}, "yaxis": {"tickformat": charts.PERCENT}}
