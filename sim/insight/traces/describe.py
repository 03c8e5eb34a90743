"""What a trace holds, in numbers."""

import math
from typing import Any

import numpy as np

from sim.insight.traces.opened import Opened
from sim.workload.burstiness import WINDOWS_S, gap_cv, index_of_dispersion, mean_rate_per_s, window_counts
from sim.workload.reuse import measure_reuse
from sim.workload.table import Floats, Ints, RequestTable

_QUANTILES = (50, 90, 99)


def describe(opened: Opened, seed: int = 0) -> dict[str, Any]:
    """Requests, arrivals, lengths, prefix reuse and sessions as plain JSON; None for what the file does not tell.

    Rates are (n - 1) / (last - first); gap_cv is std / mean of the gaps; index_of_dispersion the variance / mean of
    counts in windows; prefix rates are those of an infinite cache.
    """
    table = opened.table
    return {
        "file": str(opened.path),
        "format": opened.format,
        "requests": len(table),
        "skipped_rows": table.skipped_rows,
        "arrivals": _arrivals(opened, seed) if opened.timed else None,
        "prompt_tokens": quantiles(table.prompt_tokens),
        "output_tokens": quantiles(table.output_tokens),
        "length_correlation": known(rank_correlation(table.prompt_tokens, table.output_tokens)),
        "prefix": _prefix(table),
        "sessions": _sessions(table),
        "notes": list(table.notes),
    }


def _arrivals(opened: Opened, seed: int) -> dict[str, Any]:
    times = opened.table.arrival_s
    busiest = window_counts(times, 1.0)
    return {
        "duration_s": float(times[-1] - times[0]),
        "rate_per_s": known(mean_rate_per_s(times)),
        "gap_cv": known(gap_cv(times)),
        "index_of_dispersion": dispersions(times),
        "most_in_1_s": int(busiest.max()) if len(busiest) else None,
        "coarse_grid_s": opened.grid_s,
        "gap_cv_spread_in_grid": None if opened.grid_s is None else known(gap_cv(opened.spread(seed).arrival_s)),
    }


def dispersions(times: Floats) -> dict[str, float | None]:
    """The index of dispersion in each of the usual windows."""
    return {f"{window_s:g}s": known(index_of_dispersion(times, window_s)) for window_s in WINDOWS_S}


def quantiles(tokens: Ints) -> dict[str, float]:
    """Mean, quantiles and largest of lengths, in tokens."""
    named = {f"p{q}": float(np.percentile(tokens, q)) for q in _QUANTILES}
    return {"mean": float(tokens.mean()), **named, "max": int(tokens.max())}


def rank_correlation(first: Ints, second: Ints) -> float:
    """Spearman's rank correlation, NaN where one side never changes."""
    if len(first) < 3 or first.min() == first.max() or second.min() == second.max():
        return math.nan
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Ints) -> Floats:
    """Ranks from 0, equal values sharing their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    middle: Floats = ends - (counts + 1) / 2
    return middle[place]


def _prefix(table: RequestTable) -> dict[str, Any] | None:
    reuse = measure_reuse(table)
    if reuse is None:
        return None
    return {
        "token_hit_rate": reuse.token_hit_rate,
        "request_hit_rate": reuse.request_hit_rate,
        "blocks": reuse.blocks,
        "unique_blocks": reuse.unique_blocks,
    }


def _sessions(table: RequestTable) -> dict[str, Any] | None:
    if table.sessions is None:
        return None
    held = table.sessions[table.sessions >= 0]
    turns = np.bincount(held)
    turns = turns[turns > 0]
    return {
        "sessions": len(turns),
        "requests": len(held),
        "mean_turns": float(turns.mean()),
        "max_turns": int(turns.max()),
    }


def known(value: float) -> float | None:
    """None in place of NaN, for JSON."""
    return value if math.isfinite(value) else None
