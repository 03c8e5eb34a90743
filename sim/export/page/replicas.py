"""Replicas beside each other: where their time went, batch, queue and KV over time, and a table.

Of a large fleet the spread is shown (least, median, most), and the replicas at its ends.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim.export.page import charts
from sim.export.page.gpu_time import replicas_split, split_by_replica
from sim.export.page.section import grid
from sim.export.saved import SavedRun, began_on
from sim.metrics.context import Columns, Floats
from sim.metrics.series import RowIntegrator, requests_between
from sim.report import markup
from sim.report.colours import BLUE, FAINT, GREEN, ORANGE
from sim.report.words import count, duration, number, percent

MOST_REPLICAS = 24
"""Replicas that are shown one by one when there are no more; else those at the ends, at most as many."""
_ENDS = 4
_BUCKETS = 120
_STEPS = ("replica", "start_s", "end_s", "steps", "running", "kv_used_blocks")


def replica_views(run: SavedRun) -> Iterator[str]:
    """Each replica's time as a bar, and its batch, queue, KV and business over time as a row of colours."""
    horizon = float(run.steps["end_s"].max()) if len(run.steps) else 0.0
    table = replicas_of(run)
    if not horizon or table.empty:
        return
    shown, note = picked(table)
    edges = np.linspace(0.0, horizon, _BUCKETS + 1)
    views = _over_time(run, table.index.to_numpy(), edges)
    splits = split_by_replica(run.steps, run.summary["makespan_s"], there=run.summary["fleet"] is None)
    charted = [_heat(views, table.index.to_numpy(), shown, edges, note)]
    charted.append(replicas_split({replica: splits[replica] for replica in shown if replica in splits}))
    if note:
        yield _bands(views, edges, len(table))
    yield grid(charted)


def replica_table(run: SavedRun) -> str:
    """Requests, tokens, latencies and load of each replica; of many, the spread and those at its ends."""
    table = replicas_of(run)
    if table.empty:
        return ""
    shown, note = picked(table)
    rows = [_row(f"replica {replica}", table.loc[replica]) for replica in shown]
    if note:
        spread = {"least": table.min(), "median": table.median(), "most": table.max()}
        rows = [*(_row(f"{name} of all", values) for name, values in spread.items()), *rows]
    headers = (
        "", "requests", "output tokens", "busy", "mean batch", "KV blocks, peak", "TTFT mean", "TTFT p99", "E2E mean",
        "preemptions",
    )  # fmt: skip
    return markup.table(headers, rows) + (markup.paragraph(note, "faint note") if note else "")


def replicas_of(run: SavedRun) -> pd.DataFrame:
    """One row for each replica that had a request or a step."""
    steps, requests = run.steps, run.requests
    lasting = steps["end_s"] - steps["start_s"]
    by_step = pd.DataFrame(
        {"busy_s": lasting, "seated": steps["running"] * lasting, "kv_blocks_peak": steps["kv_used_blocks"]}
    ).groupby(steps["replica"])
    load = by_step.agg({"busy_s": "sum", "seated": "sum", "kv_blocks_peak": "max"})
    began = began_on(requests)
    twice = requests[(began != requests["replica"]) & (requests["replica"] >= 0)]
    both = pd.concat([requests.assign(on=began), twice.assign(on=twice["replica"])])
    both = both[both["on"] >= 0]
    groups = both.groupby("on")
    served = pd.DataFrame(
        {
            "requests": groups.size(), "output_tokens": groups["generated_tokens"].sum(),
            "ttft_mean_s": groups["ttft_s"].mean(), "ttft_p99_s": groups["ttft_s"].quantile(0.99),
            "e2e_mean_s": groups["e2e_s"].mean(), "preemptions": groups["preemptions"].sum(),
        }
    )  # fmt: skip
    table = served.join(load, how="outer")
    counted = ["requests", "output_tokens", "preemptions", "busy_s", "seated"]
    table[counted] = table[counted].fillna(0)
    table["busy"] = table["busy_s"] / run.summary["makespan_s"]
    table["batch"] = table["seated"] / table["busy_s"].where(table["busy_s"] > 0)
    return table.sort_index()


def picked(table: pd.DataFrame) -> tuple[list[int], str]:
    """The replicas to show, and what to say of the others: the ends by load and by latency, and some of the middle."""
    if len(table) <= MOST_REPLICAS:
        return table.index.tolist(), ""
    ends: list[int] = []
    for column in ("busy", "ttft_p99_s", "requests"):
        ranked = table[column].sort_values(kind="stable").dropna().index.tolist()
        ends += [*ranked[:_ENDS], *ranked[-_ENDS:]]
    shown = sorted(set(ends))
    return shown, (
        f"{len(shown)} of {len(table)} replicas are shown: those with the most and the least busy time, TTFT p99 and "
        "requests"
    )


def _row(name: str, values: Any) -> list[str]:
    known = {str(key): float(value) for key, value in values.items()}
    blocks = known["kv_blocks_peak"]
    return [
        name, count(round(known["requests"])), number(known["output_tokens"]), percent(known["busy"]),
        number(known["batch"]), count(round(blocks)) if blocks == blocks else "-",
        *(duration(known[key]) for key in ("ttft_mean_s", "ttft_p99_s", "e2e_mean_s")),
        count(round(known["preemptions"])),
    ]  # fmt: skip


Views = Mapping[str, NDArray[np.float64]]
"""By what is shown, one row for each replica and one column for each time bucket."""


def _heat(views: Views, replicas: NDArray[np.int64], shown: Sequence[int], edges: Floats, note: str) -> str:
    middle = charts.numbers((edges[:-1] + edges[1:]) / 2)
    rows = np.searchsorted(replicas, shown)
    figures = []
    for label, values in views.items():
        share = label in ("busy", "KV in use")
        heat = {
            "type": "heatmap", "x": middle, "y": [f"replica {replica}" for replica in shown],
            "z": [charts.numbers(np.round(row, 4)) for row in values[rows]],
            "colorscale": charts.LIGHT_TO_DARK, "zmin": 0,
            "colorbar": {"thickness": 10, "tickformat": charts.PERCENT if share else ""},
            "hovertemplate": f"%{{y}}, %{{x:.3g}} s: %{{z:{'.0%' if share else '.3g'}}}<extra></extra>",
        }  # fmt: skip
        if share:
            heat["zmax"] = 1
        figures.append(charts.figure(label, [heat], "time [s]", yaxis={"type": "category", "autorange": "reversed"}))
    return charts.chart("Replicas over time", *figures, height=120 + 22 * len(shown), note=note)


def _bands(views: Views, edges: Floats, of: int) -> str:
    """What lies between the least and the most loaded replica, over time."""
    middle = charts.numbers((edges[:-1] + edges[1:]) / 2)
    figures = []
    for label, values in views.items():
        least, low, half, high, most = (
            charts.numbers(np.round(row, 4)) for row in np.quantile(values, (0, 0.1, 0.5, 0.9, 1), axis=0)
        )
        traces = [
            charts.line(middle, most, "most", ORANGE),
            charts.line(middle, high, "p90", FAINT, dash="dot"),
            charts.line(middle, half, "median", BLUE),
            charts.line(middle, low, "p10", FAINT, dash="dot"),
            charts.line(middle, least, "least", GREEN),
        ]
        style = {"tickformat": charts.PERCENT} if label in ("busy", "KV in use") else {}
        unit = {"batch": "requests", "queue": "requests", "KV blocks": "blocks"}.get(label, "")
        axis = {"rangemode": "tozero"} | style
        figures.append(charts.figure(label, traces, "time [s]", unit, yaxis=axis, hovermode="x unified"))
    return charts.chart(f"The spread over all {of} replicas", *figures, height=300)


def _over_time(run: SavedRun, replicas: NDArray[np.int64], edges: Floats) -> Views:
    """Means per time bucket; KV as a share of the blocks where all replicas have as many."""
    blocks = run.summary["kv_blocks_per_replica"]
    kv = "KV in use" if blocks else "KV blocks"
    views = {name: np.zeros((len(replicas), len(edges) - 1)) for name in ("batch", "queue", kv, "busy")}
    width = np.diff(edges)
    for replica, mine in run.steps.groupby("replica"):
        row = int(np.searchsorted(replicas, int(str(replica))))
        steps: Columns = {name: mine[name].to_numpy() for name in _STEPS}
        rows = RowIntegrator(steps, edges)
        lasting = steps["end_s"] - steps["start_s"]
        views["batch"][row] = rows.amounts(steps["running"] * lasting) / width
        views[kv][row] = rows.amounts(steps["kv_used_blocks"] * lasting) / width / (blocks or 1)
        views["busy"][row] = np.clip(rows.amounts(lasting) / width, 0.0, 1.0)
    waited = run.requests[run.requests["scheduled_s"].notna()]
    for replica, mine in waited.groupby(began_on(waited)):
        row = int(np.searchsorted(replicas, int(str(replica))))
        sent = mine["sent_s"] if "sent_s" in mine else mine["arrival_s"]
        views["queue"][row] = requests_between(sent.to_numpy(), mine["scheduled_s"].to_numpy(), edges) / width
    return views
