"""All points of a sweep: over any two metrics, and the best of them in a table."""

import numpy as np
import pandas as pd

from sim.export.page import charts
from sim.export.saved import SavedSweep
from sim.insight.cards import points_table
from sim.insight.comparison import METRICS
from sim.report import markup
from sim.report.colours import FAINT, GREEN, ORANGE
from sim.report.words import count

_MOST_ROWS = 40


def sweep_section(saved: SavedSweep) -> str:
    """The section of a `sweep`."""
    table = saved.table
    metrics = [name for name in METRICS if name in table and table[name].notna().any()]
    keys = [str(name) for name in table.columns[: [*table.columns].index(next(n for n in METRICS if n in table))]]
    failed = table["error"].notna() if "error" in table else pd.Series(False, index=table.index)
    frontier = table["frontier"].astype(bool) & ~failed
    parts = [
        markup.paragraph(
            f"{count(len(table))} points over {', '.join(keys)}; {int(frontier.sum())} that no other beats in all "
            f"objectives; {int(failed.sum())} failed",
            "faint",
        ),
        _points(table[~failed], keys, metrics),
        "<h3>The points that no other beats</h3>",
        points_table(keys, _rows(table[frontier].head(_MOST_ROWS))),
    ]
    if failed.any():
        parts.append(
            "<h3>Failed</h3>" + markup.bullets(_label(row, keys) + f": {row['error']}" for row in _rows(table[failed]))
        )
    return "".join(parts)


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
