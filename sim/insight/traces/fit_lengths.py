"""Which length distributions a trace's prompts and outputs look like, together or apart."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from sim.choice import build
from sim.errors import ScenarioError
from sim.insight.traces.describe import rank_correlation
from sim.insight.traces.fitting import ks_distance
from sim.streams import stream
from sim.workload.lengths.lognormal import Z99
from sim.workload.table import Ints

_DRAWN = 20_000
_Z90 = 1.2815515655446004  # the 90th percentile of the standard normal distribution
_SLACK = 0.01
_FAR = 0.1
"""A distribution further than this (Kolmogorov-Smirnov) from the trace is called a poor match."""
_UNRELATED = 0.1


def fit_length(tokens: Ints, seed: int = 0) -> tuple[dict[str, dict[str, Any]], float]:
    """The distribution nearest to lengths i8[n], the simplest of those nearly as near, and its distance (KS)."""
    found = []
    for choice in _candidates(tokens):
        try:
            drawn = build("sim.workload.lengths", choice).draw(stream(seed, "fit.lengths"), _DRAWN)
        except ScenarioError:  # no log-normal has such a mean and percentile
            continue
        found.append((choice, ks_distance(tokens, drawn)))
    nearest = min(distance for _, distance in found)
    return next(pair for pair in found if pair[1] <= nearest + _SLACK)


def _candidates(tokens: Ints) -> Iterator[dict[str, dict[str, Any]]]:
    low, high = int(tokens.min()), int(tokens.max())
    yield {"fixed": {"tokens": round(float(np.median(tokens)))}}
    if low == high:
        return
    yield {"uniform": {"low": low, "high": high}}
    logs = np.log(tokens)
    middle, upper = np.percentile(logs, [50, 90])
    by_likelihood, by_quantiles = (logs.mean(), logs.std()), (middle, (upper - middle) / _Z90)
    for mu, sigma in (by_likelihood, by_quantiles):
        if 0 < sigma < Z99:
            fitted = {"mean": round(math.exp(mu + sigma**2 / 2)), "p99": round(math.exp(mu + Z99 * sigma))}
            yield {"lognormal": {**fitted, "max": high}}


def fit_lengths(prompt: Ints, output: Ints, seed: int, apart: bool = False) -> dict[str, Any]:
    """The length keys of a workload: `lengths` where log-normal sides hang together, else one distribution each.

    `apart` keeps them so (repeated prompts need it). Lengths hang together by a Gaussian copula, whose correlation
    is 2 sin(pi / 6 * Spearman's), from -0.1 to 0.1 taken for none.
    """
    sides = {"prompt": fit_length(prompt, seed)[0], "output": fit_length(output, seed)[0]}
    if apart or not all("lognormal" in side for side in sides.values()):
        return {f"{name}_tokens": side for name, side in sides.items()}
    related = rank_correlation(prompt, output)
    if abs(related) > _UNRELATED:
        pair: dict[str, Any] = {
            f"{name}_{key}": side["lognormal"][key] for name, side in sides.items() for key in ("mean", "p99", "max")
        }
        return {"lengths": {"lognormal": {**pair, "correlation": round(2 * math.sin(math.pi / 6 * related), 3)}}}
    return {f"{name}_tokens": side for name, side in sides.items()}


def poor(distance: float) -> bool:
    """Whether a fitted distribution is too far from the trace to be trusted."""
    return distance > _FAR
