"""Sums, percentiles and JSON values that come out the same on every machine."""

import math
from typing import Any

import numpy as np

from sim.metrics.context import Floats

PERCENTILES = (50, 90, 95, 99)


def exact_sum(values: Floats) -> float:
    """The correctly rounded sum of `values`: no dependence on order, SIMD width or machine."""
    return math.fsum(values.tolist())


def ratio(part: float, whole: float) -> float:
    """part / whole, NaN where there is no whole."""
    return part / whole if whole else math.nan


def describe(values: Floats) -> dict[str, float]:
    """Mean, median, population std and linear percentiles of `values`, NaN when empty.

    Definitions of `vllm bench serve` (numpy.mean, std and percentile defaults).
    """
    if not values.size:
        return dict.fromkeys(("mean", "median", "std", *(f"p{p}" for p in PERCENTILES)), math.nan)
    mean = exact_sum(values) / values.size
    quantiles = [float(q) for q in np.percentile(values, PERCENTILES)]
    spread = math.sqrt(exact_sum((values - mean) ** 2) / values.size)
    return {"mean": mean, "median": quantiles[0], "std": spread} | {
        f"p{p}": q for p, q in zip(PERCENTILES, quantiles, strict=True)
    }


def json_ready(value: Any) -> Any:
    """`value` with numpy scalars turned into Python's, and NaN and infinities into None."""
    if isinstance(value, dict):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
