"""Whether tenants that compete get the same service.

Service is weighted tokens, 1 for a prompt token and 2 for a generated one, as in the paper on virtual token
counters (Sheng et al., OSDI 2024). Only times count at which tenants compete: that they always have a request
waiting. Over a whole run each is served what it asked for, in whatever order.
"""

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.metrics.context import Columns, Floats
from sim.metrics.numbers import exact_sum
from sim.metrics.series import requests_between, sent_s, waiting_ends

INPUT_WEIGHT, OUTPUT_WEIGHT = 1.0, 2.0

_WINDOWS = 50
_PER_WINDOW = 20
_MOST_TENANTS = 20


def fairness(requests: Columns, makespan_s: float) -> dict[str, Any] | None:
    """How equally tenants are served while they compete; None with fewer than two tenants.

    The run is cut into at most 50 windows of equal length, with about 20 requests each or more. `jain_index` is
    Jain's index, (sum x)^2 / (k sum x^2), of the service in a window of the k >= 2 tenants that had requests
    waiting all through it, averaged over such windows: 1 is equal, 1/k is all for one. `service_difference_tokens`
    is the most that two tenants' service differs over any row of windows in which both always had requests
    waiting. Both are None when no two ever did. `competing_share` is the share of windows with such tenants. Of
    many tenants, the 20 with the most requests.
    """
    tenants, sizes = np.unique(requests["tenant"], return_counts=True)
    if len(tenants) < 2 or not makespan_s:
        return None
    tenants = tenants[np.argsort(-sizes, kind="stable")[:_MOST_TENANTS]]
    count = min(_WINDOWS, max(1, len(requests["tenant"]) // _PER_WINDOW))
    edges = np.linspace(0.0, makespan_s, count + 1)
    rows = [{name: column[requests["tenant"] == tenant] for name, column in requests.items()} for tenant in tenants]
    served = np.array([service(mine, edges) for mine in rows])
    backlogged = np.array([always_waiting(mine, edges) for mine in rows])
    competing = backlogged.sum(axis=0) >= 2
    return {
        "jain_index": _jain(np.diff(served), backlogged, competing),
        "service_difference_tokens": _difference(served, backlogged),
        "competing_share": float(competing.mean()),
    }


def service(requests: Columns, times: Floats) -> Floats:
    """Weighted tokens that these requests were served by each time.

    The prompt counts when a request is first scheduled, the first token when it is there, and the others evenly
    from then to the finish.
    """
    begun, first, finish = (requests[name] for name in ("scheduled_s", "first_token_s", "finish_s"))
    total = INPUT_WEIGHT * _steps(begun, requests["prompt_tokens"], times)
    total += OUTPUT_WEIGHT * _steps(first, np.minimum(requests["generated_tokens"], 1), times)
    lasting = finish > first
    more = (requests["generated_tokens"] - 1)[lasting]
    rate = more / (finish - first)[lasting]
    # A ramp is what has risen since its beginning less what would have risen since its end.
    rising = _ramps(first[lasting], rate, times) - _ramps(finish[lasting], rate, times)
    return total + OUTPUT_WEIGHT * rising


def always_waiting(requests: Columns, edges: Floats) -> NDArray[np.bool_]:
    """For each window, whether at every moment of it one of these requests had arrived and not been scheduled."""
    until = waiting_ends(requests)
    since = sent_s(requests)
    waits = until > since
    begin, end = since[waits], until[waits]
    order = np.argsort(begin, kind="stable")
    begin, reach = begin[order], np.maximum.accumulate(end[order])
    new = np.append(True, begin[1:] > reach[:-1])[: len(begin)]
    last = np.append(new[1:], True)[: len(begin)]
    return requests_between(begin[new], reach[last], edges) >= np.diff(edges) * (1 - 1e-9)


def _steps(times: Floats, amounts: NDArray[Any], at: Floats) -> Floats:
    """Sum of the amounts whose time has come, at each moment."""
    known = ~np.isnan(times)
    order = np.argsort(times[known], kind="stable")
    total = np.concatenate(([0.0], np.cumsum(amounts[known][order])))
    return total[np.searchsorted(times[known][order], at, side="right")]


def _ramps(begin: Floats, rate: Floats, at: Floats) -> Floats:
    """Sum of rate * (time since begin) over those that have begun, at each moment."""
    return at * _steps(begin, rate, at) - _steps(begin, rate * begin, at)


def _jain(gained: Floats, backlogged: NDArray[np.bool_], competing: NDArray[np.bool_]) -> float | None:
    shares = np.where(backlogged, gained, 0.0)[:, competing]
    squares = (shares**2).sum(axis=0) * backlogged[:, competing].sum(axis=0)
    if not (squares > 0).any():
        return None
    indices = shares.sum(axis=0)[squares > 0] ** 2 / squares[squares > 0]
    return exact_sum(indices) / len(indices)


def _difference(served: Floats, backlogged: NDArray[np.bool_]) -> float | None:
    most = None
    for one, other in combinations(range(len(served)), 2):
        both = backlogged[one] & backlogged[other]
        gap = served[one] - served[other]
        for begin, end in _rows(both):
            here = gap[begin : end + 1]
            most = max(most or 0.0, float(here.max() - here.min()))
    return most


def _rows(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """[begin, end) of every stretch of true flags."""
    turns = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return list(zip(turns[::2].tolist(), turns[1::2].tolist(), strict=True))
