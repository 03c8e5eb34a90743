"""Can the numbers be believed? How many independent requests they rest on, and what else weakens them."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from sim.metrics.context import Columns, Floats, RunContext
from sim.metrics.latency import completed
from sim.metrics.numbers import PERCENTILES, exact_sum, ratio
from sim.metrics.saturation import Saturation

_SURE = 0.95
_BATCHES = 30
"""Batch means: so many consecutive batches, after Law, Simulation Modeling and Analysis, 9.5.3."""
_EXTRAPOLATED_CARE, _EXTRAPOLATED_NO = 0.01, 0.2


def least_requests(percentile: int) -> int:
    """Independent requests that a percentile needs: so many that the largest lies above it with 95% probability.

    1 - q^n >= 0.95: 59 for p95, 299 for p99. With fewer there is no distribution-free upper bound (David and
    Nagaraja, Order Statistics, 7.1).
    """
    return math.ceil(math.log(1 - _SURE) / math.log(percentile / 100))


def independent(values: Floats) -> float:
    """How many independent values say as much of the mean as these, which follow each other; at most their number.

    By batch means: the variance of the means of 30 consecutive batches against that of the values.
    """
    size = len(values) // _BATCHES
    if size < 2:
        return float(len(values))
    values = values[: size * _BATCHES]
    spread = float(np.var(values))
    if spread == 0.0:
        return float(len(values))
    means = values.reshape(_BATCHES, size).mean(axis=1)
    between = float(np.var(means, ddof=1))
    return min(float(len(values)), _BATCHES * spread / between) if between else float(len(values))


def validity(
    requests: Columns, steps: Columns, latencies: dict[str, Floats], context: RunContext, verdict: Saturation
) -> dict[str, Any]:
    """Whether to believe the run: yes, with care, or no; why; and what its percentiles rest on.

    `independent_requests` says how many independent ones the mean and the p99 of TTFT and E2E latency are worth (of
    the p99: by which requests exceed it). `too_few_for` names the percentiles that fewer requests finished than
    `least_requests` asks.
    """
    done = completed(requests)
    count = int(done.sum())
    worth = {}
    for name, column in (("ttft", "ttft_s"), ("e2el", "e2e_s")):
        values = latencies[column][done]
        values = values[~np.isnan(values)]
        if values.size:
            beyond = (values > np.percentile(values, 99)).astype(np.float64)
            worth[name] = {"mean": independent(values), "p99": independent(beyond)}
    duration = steps["end_s"] - steps["start_s"]
    outside = ratio(exact_sum(duration[steps["extrapolated"].astype(bool)]), exact_sum(duration))
    doubts = list(_doubts(count, worth, outside, context, verdict))
    believe = "no" if any(fatal for _, fatal in doubts) else "with care" if doubts else "yes"
    return {
        "believe": believe,
        "why": [text for text, _ in doubts],
        "finished_requests": count,
        "independent_requests": worth,
        "too_few_for": [f"p{percentile}" for percentile in PERCENTILES if count < least_requests(percentile)],
    }


def _doubts(
    count: int, worth: dict[str, dict[str, float]], outside: float, context: RunContext, verdict: Saturation
) -> Iterator[tuple[str, bool]]:
    """What weakens the numbers, and whether nothing can be said at all."""
    if not count:
        yield "no measured request finished", True
        return
    if verdict.saturated:
        yield "saturated: the longer the run, the longer the queue, so its latencies are those of its length", True
    if outside > _EXTRAPOLATED_CARE:
        yield f"{outside:.0%} of the busy time lies outside the profile's measured range", outside > _EXTRAPOLATED_NO
    if context.provenance and "measured" not in context.provenance:
        yield f"step times are not measured ({context.provenance})", False
    if count < least_requests(99):
        yield f"{count} requests are too few for a p99, which needs {least_requests(99)}", False
        return
    least = min((name for name in worth), key=lambda name: worth[name]["p99"], default="")
    if least and worth[least]["p99"] < least_requests(99):
        label = {"ttft": "TTFT", "e2el": "E2E"}[least]
        yield (
            (
                f"p99 {label} is that of few bursts: worth {worth[least]['p99']:.0f} independent requests, "
                f"where {least_requests(99)} are needed; simulate longer"
            ),
            False,
        )
