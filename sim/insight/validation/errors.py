"""Measured and simulated statistics of the same requests, side by side."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LATENCIES = ("ttft", "tpot", "e2e")
STATISTICS = ("mean", "p50", "p90", "p99")
RATES = ("requests_per_s", "output_tokens_per_s", "total_tokens_per_s")


class Pair(NamedTuple):
    """One number of both sides; error = simulated / measured - 1, NaN where nothing was measured."""

    measured: float
    simulated: float

    @property
    def error(self) -> float:
        return self.simulated / self.measured - 1 if self.measured else float("nan")

    def told(self, unit: str = "") -> dict[str, float]:
        """As JSON: measured, simulated (names end in the unit) and error."""
        return {f"measured{unit}": self.measured, f"simulated{unit}": self.simulated, "error": self.error}


def statistics(measured: Floats, simulated: Floats) -> dict[str, Pair]:
    """Mean and percentiles (linear, as `vllm bench serve`) of two samples, NaN left out."""
    sides = [values[~np.isnan(values)] for values in (measured, simulated)]
    if not all(side.size for side in sides):
        return {name: Pair(float("nan"), float("nan")) for name in STATISTICS}
    return {name: Pair(*(_statistic(side, name) for side in sides)) for name in STATISTICS}


def latency_errors(table: pd.DataFrame) -> dict[str, dict[str, Pair]]:
    """Per latency and statistic, over the rows of a table of compared requests (see `replay.paired`)."""
    return {
        name: statistics(column(table, f"measured_{name}_s"), column(table, f"simulated_{name}_s"))
        for name in LATENCIES
    }


def median_request_errors(table: pd.DataFrame) -> dict[str, float]:
    """Per latency: the median over the requests of |simulated / measured - 1|."""
    found = {}
    for name in LATENCIES:
        measured, simulated = column(table, f"measured_{name}_s"), column(table, f"simulated_{name}_s")
        known = ~np.isnan(measured) & ~np.isnan(simulated) & (measured > 0)
        one, other = measured[known], simulated[known]
        found[name] = float(np.median(np.abs(other / one - 1))) if one.size else float("nan")
    return found


def throughput_errors(table: pd.DataFrame) -> dict[str, Pair]:
    """Requests and tokens per second from the first arrival to the last finish, as `vllm bench serve`."""
    outputs = float(table["output_tokens"].sum())
    totals = outputs + float(table["prompt_tokens"].sum())
    begin = float(table["arrival_s"].min())
    ends = [
        float(np.nanmax(column(table, "arrival_s") + column(table, f"{side}_e2e_s")))
        for side in ("measured", "simulated")
    ]
    amounts = dict(zip(RATES, (float(len(table)), outputs, totals), strict=True))
    return {name: Pair(*(amount / (end - begin) for end in ends)) for name, amount in amounts.items()}


def told(pairs: Mapping[str, Pair], unit: str = "") -> dict[str, Any]:
    """A row of pairs as JSON."""
    return {name: pair.told(unit) for name, pair in pairs.items()}


def column(table: pd.DataFrame, name: str) -> Floats:
    """A column as f8."""
    return table[name].to_numpy(np.float64)


def _statistic(values: Floats, name: str) -> float:
    return float(np.mean(values) if name == "mean" else np.percentile(values, float(name[1:])))
