"""All points of a sweep: over any two metrics, and the best of them in a table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sim.export.page import charts
from sim.export.page.section import Section, grid
from sim.export.saved import called, read_json, unreadable
from sim.insight.cards import points_table, worst_belief
from sim.insight.comparison import METRICS
from sim.insight.comparison_table import SMALL, written
from sim.report import markup
from sim.report.colours import FAINT, GREEN, ORANGE
from sim.report.folder import MARKS
from sim.report.words import count

_MOST_ROWS = 40
_MOST_CELLS = 300
_MAPPED = (
    "request_goodput", "slo_attainment", "output_throughput", "p99_ttft_ms", "p99_tpot_ms",
    "usd_per_million_output_tokens",
)  # fmt: skip


VERB = "sweep"
NOUN = "sweep"


def read(folder: Path) -> tuple[str, tuple[pd.DataFrame, Mapping[str, Any]]]:
    """`sweep.csv`, a row per point, first the keys that vary, then the metrics; and what `sweep.json` says of them."""
    try:
        table = pd.read_csv(folder / MARKS[VERB])
    except (OSError, ValueError) as error:
        raise unreadable(folder, VERB, error) from error
    if missing := [name for name in ("saturated", "frontier", "error") if name not in table]:
        raise unreadable(folder, VERB, ValueError(f"{MARKS[VERB]} has no column {missing[0]}"))
    if not (folder / "sweep.json").is_file():
        return folder.resolve().name, (table, {})
    told = read_json(folder / "sweep.json")
    return called(told["name"], folder), (table, told)


def section(saved: tuple[pd.DataFrame, Mapping[str, Any]], key: str) -> Section:
    """A sweep."""
    table, told = saved
    metrics = [name for name in METRICS if name in table and table[name].notna().any()]
    keys = [str(name) for name in table.columns[: [*table.columns].index(next(n for n in METRICS if n in table))]]
    failed = table["error"].notna() if "error" in table else pd.Series(False, index=table.index)
    frontier = table["frontier"].astype(bool) & ~failed
    parts = [
        grid([_map(table[~failed], keys, metrics), _points(table[~failed], keys, metrics)]),
        "<h3>The points that no other beats</h3>",
        points_table(keys, _rows(table[frontier].head(_MOST_ROWS))),
    ]
    if failed.any():
        parts.append(
            "<h3>Failed</h3>" + markup.bullets(_label(row, keys) + f": {row['error']}" for row in _rows(table[failed]))
        )
    if told.get("notes"):
        parts.append("<h3>To know</h3>" + markup.bullets(told["notes"]))
    setting = f"{count(len(table))} points over {', '.join(keys)}; {int(failed.sum())} failed"
    validity = worst_belief({name: {"validity": found} for name, found in told.get("validity", {}).items()})
    headline = _headline(table, keys, frontier, told.get("objectives", ()))
    return Section(headline, "".join(parts), validity, told.get("made_with", {}), setting=setting)


def _headline(table: pd.DataFrame, keys: list[str], frontier: Any, objectives: Sequence[str]) -> str:
    """The best point by the first objective, in a sentence."""
    best = table[frontier]
    told = f"{len(best)} of {count(len(table))} points are beaten by no other in all objectives"
    name = next((name for name in (*objectives, "request_goodput", "output_throughput") if name in best), None)
    if name is None or best[name].isna().all():
        return f"{told}."
    ranked = best.sort_values(name, ascending=METRICS[name].more_is_better is False, kind="stable")
    row = _rows(ranked.head(1))[0]
    value = written(name, float(ranked[name].iloc[0]))
    alike = int((table[name] / ranked[name].iloc[0] - 1).abs().lt(SMALL).sum())
    if alike > 1:
        return f"{alike} of {count(len(table))} points come to within 1% of {METRICS[name].label} {value}; {told}."
    return f"{_label(row, keys)} has the best {METRICS[name].label}, {value}; {told}."


def _map(table: pd.DataFrame, keys: list[str], metrics: list[str]) -> str:
    """The chief metrics over the first two keys, each cell the best over all others."""
    if len(keys) < 2:
        return ""
    across, down = keys[:2]
    figures = []
    for name in (name for name in _MAPPED if name in metrics):
        groups = table.groupby([down, across])[name]
        cells = (groups.min() if METRICS[name].more_is_better is False else groups.max()).unstack()
        if not 1 < cells.size <= _MOST_CELLS:
            continue
        values = cells.to_numpy()
        heat = {
            "type": "heatmap", "x": [str(one) for one in cells.columns], "y": [str(one) for one in cells.index],
            "z": [charts.numbers(row) for row in values], "colorscale": charts.LIGHT_TO_DARK, "showscale": False,
            "text": [[written(name, float(value)) for value in row] for row in values], "texttemplate": "%{text}",
            "hovertemplate": f"{across} %{{x}}, {down} %{{y}}: %{{text}}<extra></extra>", "xgap": 1, "ygap": 1,
        }  # fmt: skip
        category = {"type": "category"}
        figures.append(charts.figure(METRICS[name].label, [heat], across, down, xaxis=category, yaxis=category))
    note = f"each cell is the best over {', '.join(keys[2:])}" if len(keys) > 2 else ""
    return charts.chart("Over two keys", *figures, height=380, note=note)


def _points(table: pd.DataFrame, keys: list[str], metrics: list[str]) -> str:
    if not metrics or table.empty:
        return ""
    columns = {METRICS[name].label: charts.numbers(table[name]) for name in metrics}
    columns |= {key: charts.numbers(table[key]) for key in keys if pd.api.types.is_numeric_dtype(table[key])}
    best, saturated = table["frontier"].astype(bool).to_numpy(), table["saturated"].astype(bool).to_numpy()
    groups = {
        "best": (GREEN, np.flatnonzero(best).tolist()),
        "others": (FAINT, np.flatnonzero(~best & ~saturated).tolist()),
        "saturated": (ORANGE, np.flatnonzero(~best & saturated).tolist()),
    }
    labels = list(columns)
    cost = METRICS["usd_per_million_output_tokens"].label
    x = sorted(labels, key=lambda label: label != cost)
    return charts.explorer(
        "Every point", columns, x=x, y=labels, groups=groups, texts=[_label(r, keys) for r in _rows(table)]
    )


def _rows(table: pd.DataFrame) -> list[dict[str, object]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _label(row: dict[str, object], keys: list[str]) -> str:
    return ", ".join(f"{key} {row[key]}" for key in keys)
