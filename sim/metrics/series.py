"""Exact integrals over time of piecewise constant quantities, from the record tables."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.metrics.context import Columns, Floats

_BLINK_S = 1e-9  # shorter states are rounding between two stamps of one instant, not states


class RowIntegrator:
    """How much of each row of the steps table falls into each time bucket, summed over replicas.

    `edges` are the bucket edges in seconds, rising. Rows of one replica must not overlap.
    """

    def __init__(self, steps: Columns, edges: Floats) -> None:
        self._order = np.lexsort((steps["start_s"], steps["replica"]))
        replica, start, end = (steps[name][self._order] for name in ("replica", "start_s", "end_s"))
        self._steps = steps["steps"][self._order]
        self._buckets = len(edges) - 1
        self._cuts: list[tuple[slice, NDArray[Any], Floats]] = []
        bounds = np.flatnonzero(np.diff(replica, prepend=np.nan, append=np.nan) != 0)
        for low, high in pairwise(bounds.tolist()):
            row = np.searchsorted(start[low:high], edges, side="right") - 1
            begun = start[low:high][row]
            lasting = end[low:high][row] - begun
            inside = np.divide(edges - begun, lasting, out=np.ones(len(edges)), where=lasting > 0)
            done = np.where(row < 0, 0.0, np.clip(inside, 0.0, 1.0))
            self._cuts.append((slice(low, high), np.maximum(row, 0), done))

    def amounts(self, row_totals: NDArray[Any]) -> Floats:
        """Per bucket, the sum of `row_totals` (one value a row), each spread evenly over its row."""
        totals = np.asarray(row_totals, dtype=np.float64)[self._order]
        return self._collect(totals, [done for _, _, done in self._cuts])

    def counts(self, per_step: NDArray[Any]) -> Floats:
        """Per bucket, the sum of `per_step` over the steps that end in it (a row's steps taken as equal)."""
        totals = (np.asarray(per_step)[self._order] * self._steps).astype(np.float64)
        whole = []
        for rows, row, done in self._cuts:
            steps = self._steps[rows][row]
            whole.append(np.floor(done * steps + 1e-9) / steps)
        return self._collect(totals, whole)

    def _collect(self, totals: Floats, shares: list[Floats]) -> Floats:
        result = np.zeros(self._buckets)
        for (rows, row, _), share in zip(self._cuts, shares, strict=True):
            mine = totals[rows]
            before = np.cumsum(mine) - mine
            result += np.diff(before[row] + mine[row] * share)
        return result


def requests_between(begin: Floats, end: Floats, edges: Floats) -> Floats:
    """Request-seconds per bucket of the intervals [begin, end), each in seconds.

    Divide by the bucket's width for the time-weighted mean number of requests in that state.
    """
    return np.diff(_elapsed(begin, edges) - _elapsed(end, edges))


def _elapsed(times: Floats, edges: Floats) -> Floats:
    """Sum over `times` of the seconds passed since, at each edge."""
    times = np.sort(times)
    passed = np.searchsorted(times, edges, side="right")
    total = np.concatenate(([0.0], np.cumsum(times)))[passed]
    result: Floats = passed * edges - total
    return result


def peak(*changes: tuple[Floats, NDArray[Any] | int]) -> int:
    """The highest level that a sum of (times, jumps) reaches for longer than a nanosecond."""
    times = np.concatenate([when for when, _ in changes])
    if not times.size:
        return 0
    jumps = np.concatenate([np.broadcast_to(jump, when.shape) for when, jump in changes])
    order = np.argsort(times, kind="stable")
    level = np.cumsum(jumps[order])
    lasting = np.diff(times[order], append=np.inf) > _BLINK_S
    return max(0, int(level[lasting].max()))


def waiting_ends(requests: Columns) -> Floats:
    """When each request got into its first step, or was given up in the queue; NaN if neither."""
    scheduled = requests["scheduled_s"]
    return np.where(np.isnan(scheduled), requests["finish_s"], scheduled)


def entered(requests: Columns) -> NDArray[np.bool_]:
    """Mask of the requests that were taken in: neither rejected nor refused."""
    mask: NDArray[np.bool_] = ~np.isin(requests["status"], ("rejected", "refused"))
    return mask


def sent_s(requests: Columns) -> Floats:
    """When each request was sent for the last time: at its arrival, unless its client had to try again."""
    times: Floats = requests["sent_s"] if "sent_s" in requests else requests["arrival_s"]
    return times


def system_intervals(requests: Columns, makespan_s: float) -> tuple[Floats, Floats]:
    """Last sending and departure of every request that was taken in; the unfinished leave at the makespan."""
    inside = entered(requests)
    finish = requests["finish_s"][inside]
    arrival = sent_s(requests)[inside]
    return arrival, np.where(np.isnan(finish), np.maximum(arrival, makespan_s), finish)
