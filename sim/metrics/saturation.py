"""Is the queue still growing when the last request arrives?"""

import math
from dataclasses import dataclass, replace

import numpy as np

from sim.metrics.context import Columns, Floats, RunContext
from sim.metrics.series import entered, requests_between, sent_s, waiting_ends

_BLOCKS = 10
_FEWEST_REQUESTS = 20


@dataclass(frozen=True)
class Saturation:
    """The verdict and the numbers that it rests on."""

    saturated: bool
    backlog: int
    """Requests waiting when the last one has arrived."""
    growth: float
    """How much the straight line through the queue depth rises over the last half of the arrivals."""
    fit_r2: float
    """Share of the queue's variance over that half that the line explains."""
    drain_s: float
    """Seconds after the last arrival until nine tenths of the backlog has started; infinite if never."""
    reason: str
    """One line for the reader; empty unless saturated."""


NOT_SATURATED = Saturation(False, 0, 0.0, 0.0, 0.0, "")


def saturation(requests: Columns, context: RunContext) -> Saturation:
    """Judge whether an open-loop run offers more work than the cluster can do.

    A request waits from its arrival until its first step, or until it is given up. Over the last half of the arrival
    period, warm-up left out, cut into 10 blocks, a straight line is fitted to the mean number waiting. The run is
    saturated when all four hold:

    1. backlog: at least max(5, 1.5 * sqrt(n)) of n requests wait when the last arrives: more than
       Poisson noise would leave before a server with exactly enough capacity (about sqrt(n));
    2. trend: the line rises by at least a quarter of the mean depth;
    3. no noise: the line explains at least half of the variance of the blocks, so that a burst
       at the very end, or bursts that come and go, do not count;
    4. drain: starting nine tenths of that backlog takes longer than 2% of the arrival period.

    Where prompts are computed elsewhere, the wait between the first token and the first step of decoding is judged in
    the same way. Closed loops are never saturated (each user waits), and fewer than 20 requests or arrivals all
    at once cannot tell. What sessions send after the last of them has started does not count as arrivals.
    """
    counted = entered(requests) & (requests["arrival_s"] <= context.last_start_s)
    if context.closed_loop:
        return NOT_SATURATED
    measured = requests["arrival_s"][counted & requests["measured"].astype(bool)]
    since_s = float(measured.min()) if measured.size else -math.inf
    verdict = queue_growth(sent_s(requests)[counted], waiting_ends(requests)[counted], since_s)
    if verdict.saturated or "prefill_replica" not in requests:
        return verdict
    prefilled = ~np.isnan(requests["prefilled_s"])
    begun = requests["decode_scheduled_s"]
    begun = np.where(np.isnan(begun), requests["finish_s"], begun)
    # From the first on: parked KV bounds this queue, so that its growth is over soon.
    decoding = queue_growth(requests["prefilled_s"][prefilled], begun[prefilled])
    return replace(decoding, reason=f"decode {decoding.reason}") if decoding.saturated else verdict


def queue_growth(arrival: Floats, scheduled: Floats, since_s: float = -math.inf) -> Saturation:
    """The same verdict from arrivals and ends of waiting alone, in seconds; NaN: waits for ever.

    The arrival period begins with the first arrival, and not before `since_s`.
    """
    if arrival.size < _FEWEST_REQUESTS:
        return NOT_SATURATED
    begin, end = max(float(arrival.min()), since_s), float(arrival.max())
    if end <= begin:
        return NOT_SATURATED
    scheduled = np.where(np.isnan(scheduled), np.inf, scheduled)
    growth, mean, r2 = _trend(arrival, scheduled, (begin + end) / 2, end)
    late_starts = np.sort(scheduled[scheduled > end])
    backlog = late_starts.size
    drain_s = float(late_starts[math.ceil(0.9 * backlog) - 1]) - end if backlog else 0.0
    saturated = (
        backlog >= max(5.0, 1.5 * math.sqrt(arrival.size))
        and growth >= 0.25 * mean
        and r2 >= 0.5
        and drain_s >= 0.02 * (end - begin)
    )
    clearing = f"{drain_s:,.3g} s to clear" if math.isfinite(drain_s) else "never cleared"
    reason = f"queue still growing at the last arrival ({backlog:,} waiting, {clearing})"
    return Saturation(saturated, backlog, growth, r2, drain_s, reason if saturated else "")


def _trend(arrival: Floats, scheduled: Floats, begin: float, end: float) -> tuple[float, float, float]:
    """Rise of the line through the waiting count over [begin, end], its mean, and r squared."""
    edges = np.linspace(begin, end, _BLOCKS + 1)
    depth = requests_between(arrival, scheduled, edges) / np.diff(edges)
    centre = np.arange(_BLOCKS) - (_BLOCKS - 1) / 2
    mean = float(np.mean(depth))
    slope = float(np.sum(centre * depth) / np.sum(centre**2))
    variance = float(np.sum((depth - mean) ** 2))
    explained = slope**2 * float(np.sum(centre**2))
    return slope * _BLOCKS, mean, explained / variance if variance > 0 else 0.0
