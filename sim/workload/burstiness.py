"""How bursty arrivals are: variation of the gaps, and of the counts in windows of time."""

import numpy as np

from sim.workload.table import Floats

WINDOWS_S = (1.0, 10.0, 60.0)


def mean_rate_per_s(arrival_s: Floats) -> float:
    """(n - 1) / (last - first), NaN where that is nothing."""
    span = float(arrival_s[-1] - arrival_s[0])
    return (len(arrival_s) - 1) / span if span > 0 else float("nan")


def gap_cv(arrival_s: Floats) -> float:
    """Standard deviation of the gaps over their mean: 1 for a Poisson process, 0 for a regular one."""
    gaps = np.diff(arrival_s)
    return float(gaps.std() / gaps.mean()) if len(gaps) and gaps.mean() > 0 else float("nan")


def window_counts(arrival_s: Floats, window_s: float) -> Floats:
    """f8[windows]: arrivals in each whole window from the first arrival on."""
    times = arrival_s - arrival_s[0]
    whole = int(times[-1] // window_s)
    counts: Floats = np.bincount((times // window_s).astype(np.int64), minlength=whole + 1)[:whole].astype(np.float64)
    return counts


def index_of_dispersion(arrival_s: Floats, window_s: float) -> float:
    """Variance over mean of the counts in windows: 1 for a Poisson process; NaN for fewer than ten windows."""
    counts = window_counts(arrival_s, window_s)
    return float(counts.var() / counts.mean()) if len(counts) >= 10 and counts.mean() > 0 else float("nan")
