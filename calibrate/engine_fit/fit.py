"""Few host costs, found by simulating the log's requests until they meet the log.

Observations are the mean TPOT and the mean logarithm of TTFT of blocks of consecutive requests, as logarithms of
simulated / measured, each in units of what chance does to it (`_CHANCE`). Least squares (scipy), linear again
and again, finds the costs; resampling whole blocks tells how sure they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import lsq_linear
from scipy.stats import bootstrap

from calibrate.engine_fit.replay import Floats, Latencies, Replay
from calibrate.engine_fit.scaled import ScaledTimer
from sim.workload.table import RequestTable

_BLOCKS = 24
_FEWEST_IN_BLOCK = 8
_UNITS = {  # what a cost is stepped by for its derivative, and about how large it is
    "host_step_s": 2e-4,
    "host_seq_s": 2e-5,
    "host_exposed_s": 4e-4,
    "host_request_s": 2e-3,
    "host_output_s": 4e-5,
}
_MEANING = {
    "host_step_s": "per step",
    "host_seq_s": "per step and sequence",
    "host_exposed_s": "per step, never hidden behind the GPU",
    "host_request_s": "per request",
    "host_output_s": "per step and sequence, on a token's way to its client",
}
_BLIND = 0.1
"""A cost that moves no observation by this share of chance when it changes by its unit does not show in a log."""
_LIKE = 0.97
_CHANCE = {"tpot": 0.01, "ttft": 0.04}
"""Shares by which a block's TPOT and TTFT differ where nothing is wrong: a TTFT depends on where in a step a request
arrives."""
_ITERATIONS, _HALVINGS = 8, 3
_SETTLED = 0.05  # of a cost's unit
_FAR = 3.0
_RESAMPLES = 999
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Fitted:
    """One cost: value and 95% interval, in seconds; identified: could the log tell it?"""

    name: str
    value: float
    low: float
    high: float
    before: float
    identified: bool
    like: tuple[str, ...]

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "before": self.before,
            "meaning": _MEANING[self.name],
            "identified": self.identified,
            "hard_to_tell_from": list(self.like),
        }


@dataclass(frozen=True, eq=False)
class EngineFit:
    """The costs that meet a log best, and how well (rms of what is left, as shares: TPOT, TTFT)."""

    costs: tuple[Fitted, ...]
    rms: dict[str, float]
    blocks: int
    evaluations: int

    def values(self) -> dict[str, float]:
        """Costs by name; what the log could not tell stays as it was."""
        return {cost.name: cost.value for cost in self.costs}


def wanted_costs(replay: Replay) -> list[str]:
    """The costs that can matter: an asynchronous engine hides its work per step behind the GPU."""
    overlap = replay.setup.timing.overlap
    per_step = ["host_exposed_s"] if overlap else ["host_step_s", "host_seq_s"]
    return [*per_step, "host_request_s", "host_output_s"]


def fit_engine(
    replay: Replay, scale: Callable[[int], float] | None = None, say: Callable[[str], None] = lambda text: None
) -> EngineFit:
    """Fit the host costs of a replay; `scale` gives measured / predicted GPU time of a step of so many rows.

    Without `scale` the profile's step times are taken as true, and their error becomes a part of the costs.
    """
    names = wanted_costs(replay)
    before = replay.costs
    units = np.array([_UNITS[name] for name in names])
    start = np.array([before[name] for name in names]) / units
    blocks = _blocks(replay.measured)
    count = 0

    def residuals(at: Floats) -> Floats:
        nonlocal count
        count += 1
        say(f"simulation {count}: " + ", ".join(f"{n} {v * u:.3g}" for n, v, u in zip(names, at, units, strict=True)))
        latencies = simulate(replay, dict(zip(names, (at * units).tolist(), strict=True)), scale)
        return _observed(replay.measured, latencies, blocks)

    at, seen, slope = _solved(residuals, start)
    low, high = _intervals(at, seen, slope, len(blocks))
    identified, like = _identifiable(names, slope)
    costs = [
        Fitted(
            name,
            float(at[i] * units[i]) if identified[i] else before[name],
            float(low[i] * units[i]),
            float(high[i] * units[i]),
            before[name],
            identified[i],
            tuple(like[i]),
        )
        for i, name in enumerate(names)
    ]
    rms = {
        "tpot": float(np.sqrt(np.mean(seen[: len(blocks)] ** 2))) * _CHANCE["tpot"],
        "ttft": float(np.sqrt(np.mean(seen[len(blocks) :] ** 2))) * _CHANCE["ttft"],
    }
    return EngineFit(tuple(costs), rms, len(blocks), count)


def _solved(residuals: Callable[[Floats], Floats], start: Floats) -> tuple[Floats, Floats, Floats]:
    """(costs, residuals there, their derivatives): linear least squares again and again, no cost below 0.

    What lies far off (a queue that the one side had and the other had not) counts less, as in Huber's estimator.
    """
    at, seen = start, residuals(start)
    for _ in range(_ITERATIONS):
        slope = np.stack([residuals(at + step) - seen for step in np.eye(len(at))], axis=1)
        weight = _weights(seen)
        found = lsq_linear(slope * weight[:, None], (slope @ at - seen) * weight, bounds=(0.0, np.inf)).x
        after = residuals(found)
        for _ in range(_HALVINGS):
            if np.sum((weight * after) ** 2) <= np.sum((weight * seen) ** 2):
                break
            found = (found + at) / 2
            after = residuals(found)
        moved = float(np.max(np.abs(found - at)))
        at, seen = found, after
        if moved < _SETTLED:
            break
    return at, seen, slope


def _weights(seen: Floats) -> Floats:
    size = np.abs(seen)
    limit = _FAR * max(float(np.median(size)), 1.0)
    weight: Floats = np.sqrt(np.minimum(1.0, limit / np.maximum(size, 1e-12)))
    return weight


def simulate(
    replay: Replay,
    values: dict[str, float],
    scale: Callable[[int], float] | None = None,
    table: RequestTable | None = None,
) -> Latencies:
    """The replay under costs by name, and a scale of the GPU time by rows; `table`: other content."""
    if scale is None:
        return replay.simulated(values, table=table)
    exposed = values.get("host_exposed_s", replay.costs["host_exposed_s"])
    return replay.simulated(values, wrap=lambda timer: ScaledTimer(timer, scale, exposed), table=table)


def _blocks(measured: Latencies) -> list[Any]:
    count = len(measured.ttft)
    wanted = max(2, min(_BLOCKS, count // _FEWEST_IN_BLOCK))
    return np.array_split(np.arange(count), wanted)


def _observed(measured: Latencies, simulated: Latencies, blocks: list[Any]) -> Floats:
    tpot = [np.log(np.nanmean(simulated.tpot[rows]) / np.nanmean(measured.tpot[rows])) for rows in blocks]
    ttft = [np.mean(np.log(simulated.ttft[rows] / measured.ttft[rows])) for rows in blocks]
    seen: Floats = np.concatenate([np.array(tpot) / _CHANCE["tpot"], np.array(ttft) / _CHANCE["ttft"]])
    return np.nan_to_num(seen)  # a block of one-token answers has no TPOT


def _intervals(at: Floats, seen: Floats, slope: Floats, blocks: int) -> tuple[Floats, Floats]:
    """95% of the costs that resampled blocks lead to, by the linear part of the model."""

    def refit(picked: Any) -> Floats:
        rows = np.concatenate([picked.astype(int), picked.astype(int) + blocks])
        moved: Floats = at - np.linalg.lstsq(slope[rows], seen[rows], rcond=None)[0]
        return np.maximum(moved, 0.0)

    found = bootstrap(
        (np.arange(blocks),), refit, vectorized=False, n_resamples=_RESAMPLES, method="percentile",
        confidence_level=_CONFIDENCE, rng=np.random.default_rng(0),
    )  # fmt: skip
    low, high = found.confidence_interval
    return np.minimum(low, at), np.maximum(high, at)


def _identifiable(names: list[str], slope: Floats) -> tuple[list[bool], list[list[str]]]:
    """Which costs move the observations at all, and which of them move them alike."""
    sizes = np.sqrt(np.mean(slope**2, axis=0))
    seen = [bool(np.max(np.abs(slope[:, i])) >= _BLIND) for i in range(len(names))]
    like: list[list[str]] = [[] for _ in names]
    for i in range(len(names)):
        for j in range(len(names)):
            if i != j and seen[i] and seen[j]:
                cosine = float(slope[:, i] @ slope[:, j] / (len(slope) * sizes[i] * sizes[j]))
                if abs(cosine) > _LIKE:
                    like[i].append(names[j])
    return seen, like
