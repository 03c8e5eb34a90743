"""Replicas beside each other: busy, batch, queue and KV over time, and a table."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from sim.export.page import charts
from sim.export.saved import SavedRun, began_on
from sim.metrics.context import Columns, Floats
from sim.metrics.series import RowIntegrator, requests_between
from sim.report import markup
from sim.report.words import count, duration, number, percent

MOST_REPLICAS = 48
"""Replicas that are shown when there are more: evenly picked."""
_BUCKETS = 120
_LIGHT_TO_DARK = [[0, "#f0f4f8"], [0.5, "#56b4e9"], [1, "#0b3c5d"]]


def replica_views(run: SavedRun) -> Iterator[str]:
    """Each replica a row, time to the right, and a colour for its batch, its queue, its KV, or how busy it is."""
    shown, note = _shown(run)
    horizon = float(run.steps["end_s"].max()) if len(run.steps) else 0.0
    if not horizon or not shown:
        return
    edges = np.linspace(0.0, horizon, _BUCKETS + 1)
    blocks = run.summary["kv_blocks_per_replica"]
    views = {replica: _over_time(run, replica, edges, blocks) for replica in shown}
    middle = charts.numbers((edges[:-1] + edges[1:]) / 2)
    figures = []
    for label in next(iter(views.values())):
        share = label in ("busy", "KV in use")
        heat = {
            "type": "heatmap", "x": middle, "y": [f"replica {replica}" for replica in shown],
            "z": [charts.numbers(views[replica][label]) for replica in shown], "colorscale": _LIGHT_TO_DARK, "zmin": 0,
            "colorbar": {"thickness": 10, "tickformat": ".0%" if share else ""},
            "hovertemplate": f"%{{y}}, %{{x:.3g}} s: %{{z:{'.0%' if share else '.3g'}}}<extra></extra>",
        }  # fmt: skip
        if share:
            heat["zmax"] = 1
        figures.append(charts.figure(label, [heat], "time [s]", yaxis={"type": "category", "autorange": "reversed"}))
    yield charts.chart("Replicas over time", *figures, height=140 + 22 * len(shown), note=note)


def replica_table(run: SavedRun) -> str:
    """Requests, tokens, latencies and load of each replica."""
    shown, note = _shown(run)
    rows = []
    makespan = run.summary["makespan_s"]
    for replica in shown:
        mine = run.requests[(run.requests["replica"] == replica) | (began_on(run.requests) == replica)]
        steps = run.steps[run.steps["replica"] == replica]
        lasting = (steps["end_s"] - steps["start_s"]).to_numpy()
        busy = float(lasting.sum())
        batch = float((steps["running"].to_numpy() * lasting).sum()) / busy if busy else float("nan")
        times = (mine["ttft_s"].mean(), mine["ttft_s"].quantile(0.99), mine["e2e_s"].mean())
        rows.append(
            [
                f"replica {replica}", count(len(mine)), number(float(mine["generated_tokens"].sum())),
                percent(busy / makespan if makespan else None), number(batch),
                count(int(steps["kv_used_blocks"].max())) if len(steps) else "-",
                *(duration(float(value)) for value in times), count(int(mine["preemptions"].sum())),
            ]
        )  # fmt: skip
    headers = (
        "", "requests", "output tokens", "busy", "mean batch", "KV blocks, peak", "TTFT mean", "TTFT p99", "E2E mean",
    )  # fmt: skip
    said = markup.paragraph(note, "faint note") if note else ""
    return markup.table((*headers, "preemptions"), rows) + said


def _shown(run: SavedRun) -> tuple[list[int], str]:
    seen = np.union1d(run.steps["replica"].unique(), run.requests["replica"].unique())
    known = [int(replica) for replica in seen if replica >= 0]
    if len(known) <= MOST_REPLICAS:
        return known, ""
    picked = [known[i] for i in np.linspace(0, len(known) - 1, MOST_REPLICAS).astype(int)]
    return picked, f"{MOST_REPLICAS} of {len(known)} replicas are shown, evenly picked"


def _over_time(run: SavedRun, replica: int, edges: Floats, blocks: int | None) -> dict[str, Floats]:
    """Means per time bucket; KV as a share of the blocks where all replicas have as many."""
    steps = _columns(run.steps[run.steps["replica"] == replica])
    mine = run.requests[began_on(run.requests) == replica]
    mine = mine[mine["scheduled_s"].notna()]
    width = np.diff(edges)
    rows = RowIntegrator(steps, edges)
    lasting = steps["end_s"] - steps["start_s"]
    kv = rows.amounts(steps["kv_used_blocks"] * lasting) / width
    return {
        "batch": rows.amounts(steps["running"] * lasting) / width,
        "queue": requests_between(
            mine.get("sent_s", mine["arrival_s"]).to_numpy(), mine["scheduled_s"].to_numpy(), edges
        )
        / width,
        **({"KV in use": kv / blocks} if blocks else {"KV blocks": kv}),
        "busy": np.clip(rows.amounts(lasting) / width, 0.0, 1.0),
    }


def _columns(steps: pd.DataFrame) -> Columns:
    names = ("replica", "start_s", "end_s", "steps", "running", "kv_used_blocks")
    return {name: steps[name].to_numpy() for name in names}
