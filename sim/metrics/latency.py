"""Latencies as `vllm bench serve` defines them: TTFT, TPOT, E2E per request, ITL per token."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.metrics.context import Columns, Floats
from sim.metrics.numbers import PERCENTILES, exact_sum, ratio
from sim.metrics.series import sent_s
from sim.record import GAP_SHIFT


def latency_columns(requests: Columns) -> dict[str, Floats]:
    """Latencies of every request, in seconds; NaN where the event did not happen.

    queue_wait_s = first time in a step - arrival, of the last attempt where clients try again;
    ttft_s = first token - arrival; e2e_s = finish - arrival;
    tpot_s = (e2e - ttft) / (output - 1), NaN for one-token outputs;
    normalized_s = e2e / output, the normalized latency of the Orca and PagedAttention papers.
    """
    arrival = requests["arrival_s"]
    first, finish = requests["first_token_s"], requests["finish_s"]
    gaps = requests["generated_tokens"] - 1
    tpot = np.full(len(arrival), np.nan)
    np.divide(finish - first, gaps, out=tpot, where=gaps > 0)
    return {
        "queue_wait_s": requests["scheduled_s"] - sent_s(requests),
        "ttft_s": first - arrival,
        "tpot_s": tpot,
        "e2e_s": finish - arrival,
        "normalized_s": (finish - arrival) / np.maximum(requests["generated_tokens"], 1),
    }


def completed(requests: Columns) -> NDArray[np.bool_]:
    """Mask of the requests that the statistics are about: measured and finished."""
    mask: NDArray[np.bool_] = requests["measured"].astype(bool) & (requests["status"] == "finished")
    return mask


def given_up(requests: Columns) -> NDArray[np.bool_]:
    """Mask of the requests that a client cancelled, the server timed out, or a crash ended."""
    mask: NDArray[np.bool_] = np.isin(requests["status"], ("cancelled", "timed_out", "failed"))
    return mask


QUANTILES = (*(number / 100 for number in range(100)), 0.995, 0.999, 1.0)
"""The shares of requests that `latency_quantiles` tells of."""


def latency_quantiles(requests: Columns) -> dict[str, list[float]]:
    """TTFT, TPOT and E2E in ms at each share of QUANTILES (numpy's linear rule); empty where no request has one."""
    done = completed(requests)
    columns = latency_columns(requests)
    found = {}
    for name, column in (("ttft", "ttft_s"), ("tpot", "tpot_s"), ("e2el", "e2e_s")):
        values = columns[column][done]
        values = values[~np.isnan(values)] * 1e3
        found[name] = np.quantile(values, QUANTILES).tolist() if values.size else []
    return found


def itl_statistics(bins: NDArray[Any], counts: NDArray[Any], requests: Columns) -> dict[str, float]:
    """Mean, median, std and percentiles of the gaps between tokens, pooled over requests, in seconds.

    All come from the log histogram at bin midpoints, so each is within 0.1% of the value that the single gaps would
    give; where every token of every measured request is a gap of its own, the mean is exact, sum(E2E - TTFT) /
    sum(output - 1). Tokens that come together, from speculative decoding, are one delivery, as in vLLM. Of requests
    that were given up the gaps until then count too, as in the histogram of a vLLM server.
    """
    order = np.argsort(bins, kind="stable")
    bins, counts = bins[order].astype(np.int64), counts[order].astype(np.int64)
    total = int(counts.sum())
    if not total:
        return dict.fromkeys(("mean", "median", "std", *(f"p{p}" for p in PERCENTILES)), math.nan)
    edges = (bins << GAP_SHIFT).view(np.float64)
    upper = ((bins + 1) << GAP_SHIFT).view(np.float64)
    middle = (edges + upper) / 2
    mask = completed(requests)
    decoding = exact_sum((requests["finish_s"] - requests["first_token_s"])[mask])
    at_middle = exact_sum(middle * counts) / total
    gaps = int((requests["generated_tokens"][mask] - 1).sum())
    others = np.any(given_up(requests) & requests["measured"].astype(bool))
    mean = ratio(decoding, gaps) if gaps == total and not others else at_middle
    spread = math.sqrt(exact_sum(counts * (middle - at_middle) ** 2) / total)
    quantiles = [_weighted_percentile(middle, np.cumsum(counts), p) for p in PERCENTILES]
    return {"mean": mean, "median": quantiles[0], "std": spread} | {
        f"p{p}": q for p, q in zip(PERCENTILES, quantiles, strict=True)
    }


def _weighted_percentile(values: Floats, cumulative: NDArray[Any], percent: float) -> float:
    """numpy's linear percentile of `values` repeated as often as the cumulative counts say."""
    position = (int(cumulative[-1]) - 1) * percent / 100
    below = math.floor(position)
    low, high = np.searchsorted(cumulative, (below, math.ceil(position)), side="right")
    return float(values[low] + (values[high] - values[low]) * (position - below))
