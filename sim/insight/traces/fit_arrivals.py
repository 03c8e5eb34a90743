"""Which arrival process a trace's times look like, and with which parameters.

Every candidate is fitted by moments or likelihood, then drawn from several times; what is drawn is held against the
trace: the distribution of gaps (Kolmogorov-Smirnov distance) and the index of dispersion over windows from short to
long. The simplest candidate that is nearly as close as the closest is taken.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.choice import build
from sim.errors import ScenarioError
from sim.insight.traces.fitting import ks_distance, rounded_to
from sim.insight.traces.hmm import two_rates
from sim.streams import stream
from sim.workload.burstiness import gap_cv, index_of_dispersion, mean_rate_per_s, window_counts
from sim.workload.table import Floats

_DRAWS = 5
_SLACK = 0.06
"""A simpler process may be this much further from the trace than the closest."""
_DISPERSION_WEIGHT = 0.25
_DAY_S = 86400.0


@dataclass(frozen=True, eq=False)
class Candidate:
    """An arrival process with its distance from the trace: `ks` of the gaps, and `dispersion_error`, the mean
    absolute log of the ratios of the indices of dispersion."""

    process: dict[str, dict[str, Any]]
    ks: float
    dispersion_error: float

    @property
    def name(self) -> str:
        """What the process is called in a scenario."""
        return next(iter(self.process))

    @property
    def distance(self) -> float:
        """What is compared: ks + 0.25 * dispersion_error."""
        return self.ks + _DISPERSION_WEIGHT * self.dispersion_error


def fit_arrivals(arrival_s: Floats, seed: int = 0) -> list[Candidate]:
    """Candidates, the chosen one first, the others by their distance; times are f8[n] sorted, in seconds."""
    span = float(arrival_s[-1] - arrival_s[0])
    if span <= 0:
        return [Candidate({"all_at_once": {}}, 0.0, 0.0)]
    found = []
    for process in _candidates(arrival_s, span):
        try:
            found.append(_weighed(process, arrival_s, span, seed))
        except ScenarioError:  # rates so extreme that the process cannot be drawn
            continue
    closest = min(candidate.distance for candidate in found)
    chosen = next(candidate for candidate in found if candidate.distance <= closest + _SLACK)
    return [chosen, *sorted((c for c in found if c is not chosen), key=lambda c: c.distance)]


def _candidates(arrival_s: Floats, span: float) -> Iterator[dict[str, dict[str, Any]]]:
    """Processes from simple to rich."""
    rate, cv = mean_rate_per_s(arrival_s), gap_cv(arrival_s)
    if cv < 0.05:
        yield {"constant": {"rate_per_s": rounded_to(rate)}}
    yield {"poisson": {"rate_per_s": rounded_to(rate)}}
    yield {"gamma": {"rate_per_s": rounded_to(rate), "cv": rounded_to(min(max(cv, 0.001), 100.0), 3)}}
    if len(arrival_s) < 100:
        return
    if span >= 0.9 * _DAY_S:
        yield {"diurnal": _diurnal(arrival_s - arrival_s[0], span)}
    if (on_off := _on_off(arrival_s, span)) is not None:
        yield {"on_off": on_off}
    yield {"piecewise": {"rates": _steps(arrival_s - arrival_s[0], span)}}


def _weighed(process: dict[str, dict[str, Any]], arrival_s: Floats, span: float, seed: int) -> Candidate:
    drawn = draw_times(process, span, seed, _DRAWS if len(arrival_s) < 100_000 else 2)
    gaps = np.concatenate([np.diff(times) for times in drawn])
    errors = []
    for window_s in _windows(arrival_s, span):
        seen = index_of_dispersion(arrival_s, window_s)
        ours = float(np.nanmean([index_of_dispersion(times, window_s) for times in drawn]))
        if seen > 0 and ours > 0:
            errors.append(abs(math.log(ours / seen)))
    return Candidate(process, ks_distance(np.diff(arrival_s), gaps), float(np.mean(errors)) if errors else 0.0)


def draw_times(process: dict[str, dict[str, Any]], span: float, seed: int, draws: int) -> list[Floats]:
    """Arrival times in [0, span) of several independent runs of a process, each of at least 12 requests."""
    built: Any = build("sim.workload.arrivals", process)
    runs = [built.times(stream(seed, f"fit.arrivals.{draw}"), None, span) for draw in range(draws)]
    return [times for times in runs if len(times) > 12] or [np.linspace(0.0, span, 13)]


def _windows(arrival_s: Floats, span: float) -> list[float]:
    """Six window lengths from two mean gaps (a second at least, where there is room) to a twentieth of the trace."""
    longest = span / 20
    shortest = min(max(1.0, 2 * span / len(arrival_s)), longest / 2)
    return [float(window_s) for window_s in np.geomspace(shortest, longest, 6)]


def _diurnal(times: Floats, span: float) -> dict[str, Any]:
    """The wave of one day in the times, by its Fourier coefficient over whole days (likeliest for small waves)."""
    days = max(math.floor(span / _DAY_S), 1)
    inside = times[times < days * _DAY_S]
    turn = 2 * np.pi / _DAY_S
    sine, cosine = 2 * np.sin(turn * inside).mean(), 2 * np.cos(turn * inside).mean()
    phase_s = (math.atan2(cosine, sine) / turn) % _DAY_S
    return {
        "mean_rate_per_s": rounded_to(len(inside) / min(days * _DAY_S, span)),
        "amplitude": rounded_to(min(math.hypot(sine, cosine), 1.0), 3),
        "phase_s": float(round(phase_s)),
    }


def _on_off(arrival_s: Floats, span: float) -> dict[str, Any] | None:
    """Two Poisson rates that alternate, by a hidden Markov model of counts in windows; None where there is one rate."""
    width = max(span / 8000, min(4 * span / len(arrival_s), span / 400))
    found = two_rates(window_counts(arrival_s, width))
    if found is None:
        return None
    burst, idle, leave_burst, leave_idle = found
    burst_s, idle_s = (-width / math.log1p(-leave) for leave in (leave_burst, leave_idle))
    return {
        "burst_rate_per_s": rounded_to(burst / width),
        "burst_s": rounded_to(burst_s, 3),
        "idle_rate_per_s": rounded_to(idle / width) if idle > 0.005 * burst else 0.0,
        "idle_s": rounded_to(idle_s, 3),
    }


def _steps(times: Floats, span: float) -> list[list[float]]:
    """A rate for each of 4 to 64 equal parts, as many as pay by the Bayesian information criterion."""
    best, best_cost = [[0.0, len(times) / span]], math.inf
    for parts in (4, 8, 16, 32, 64):
        counts, edges = np.histogram(times, parts, (0.0, span))
        width = span / parts
        some = counts[counts > 0]
        cost = -2 * float((some * np.log(some / width)).sum()) + parts * math.log(len(times))
        if cost < best_cost:
            best_cost = cost
            best = [
                [rounded_to(float(e), 6), rounded_to(float(c / width))] for e, c in zip(edges, counts, strict=False)
            ]
    return best
