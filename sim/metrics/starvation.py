"""Who waits too long: queue waits by class, and how often later requests went first."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.metrics.context import Columns, Floats
from sim.metrics.numbers import describe, ratio
from sim.metrics.series import entered, sent_s, waiting_ends

STARVED_TIMES = 10
"""A starved request waited longer than this many median waits and was overtaken at least so often."""

_MOST_GROUPS = 20


def waited_s(requests: Columns) -> Floats:
    """Seconds from the last sending to the first step, or to the end of a request that never got into one.

    NaN for those that were not taken in.
    """
    return np.where(entered(requests), waiting_ends(requests) - sent_s(requests), np.nan)


def overtaken(requests: Columns) -> NDArray[np.int64]:
    """For each request, how many that were sent later were in their first step earlier, on the same replica."""
    times = np.where(np.isnan(requests["scheduled_s"]), np.inf, requests["scheduled_s"])
    counts = np.zeros(len(times), np.int64)
    for replica in np.unique(requests["replica"]).tolist():
        if replica >= 0:
            mine = np.flatnonzero(requests["replica"] == replica)
            if "sent_s" in requests:
                mine = mine[np.argsort(requests["sent_s"][mine], kind="stable")]
            counts[mine] = smaller_behind(times[mine])
    return counts


def smaller_behind(values: Floats) -> NDArray[np.int64]:
    """For each value, how many behind it are smaller; O(n log n).

    The places are taken in the order of their values. Then, bit by bit from the highest, a place without the
    bit has before it all places of its group with the bit that hold a smaller value; and the group is parted.
    """
    counts = np.zeros(len(values), np.int64)
    if not (values[1:] < values[:-1]).any():
        return counts
    places = np.argsort(values, kind="stable")
    index = np.arange(len(values))
    for bit in reversed(range(len(values).bit_length())):
        group = places >> (bit + 1)
        begin, end = np.searchsorted(group, group, "left"), np.searchsorted(group, group, "right")
        has_bit = (places >> bit) & 1
        with_bit = np.concatenate(([0], np.cumsum(has_bit)))
        before = with_bit[:-1] - with_bit[begin]
        without = has_bit == 0
        counts[places[without]] += before[without]
        lefts = (end - begin) - (with_bit[end] - with_bit[begin])
        parted = np.empty_like(places)
        parted[begin + np.where(without, index - begin - before, lefts + before)] = places
        places = parted
    return counts


def starvation(requests: Columns) -> dict[str, Any]:
    """How uneven the waiting was, over measured requests that were taken in.

    `starved_share` is of those that waited longer than STARVED_TIMES times the median and were overtaken at
    least STARVED_TIMES times; first come, first served starves nobody, however long the queue.
    """
    counted = requests["measured"].astype(bool) & entered(requests)
    wait, passed = waited_s(requests)[counted], overtaken(requests)[counted]
    if not wait.size:
        return dict.fromkeys(("max_queue_wait_ms", "max_overtaken", "mean_overtaken", "starved_share"))
    long = (wait > STARVED_TIMES * np.nanmedian(wait)) & (passed >= STARVED_TIMES)
    return {
        "max_queue_wait_ms": float(np.nanmax(wait)) * 1e3,
        "max_overtaken": int(passed.max()),
        "mean_overtaken": ratio(int(passed.sum()), len(passed)),
        "starved_share": ratio(int(long.sum()), len(long)),
    }


def by_group(requests: Columns, column: str, names: dict[int, str] | None = None) -> dict[str, Any] | None:
    """Waits and TTFT for each value of a column, measured requests only; None when there is but one value.

    Of many values, the 20 with the most requests.
    """
    counted = requests["measured"].astype(bool) & entered(requests)
    values, sizes = np.unique(requests[column][counted], return_counts=True)
    if len(values) < 2:
        return None
    largest = np.sort(np.argsort(-sizes, kind="stable")[:_MOST_GROUPS])
    wait, passed = waited_s(requests), overtaken(requests)
    ttft = requests["first_token_s"] - requests["arrival_s"]
    return {
        (names or {}).get(value, str(value)): _group(counted & (requests[column] == value), wait, ttft, passed)
        for value in values[largest].tolist()
    }


def _group(mine: NDArray[np.bool_], wait: Floats, ttft: Floats, passed: NDArray[np.int64]) -> dict[str, Any]:
    waits, answers = describe(wait[mine]), ttft[mine]
    return {
        "requests": int(mine.sum()),
        "mean_queue_wait_ms": waits["mean"] * 1e3,
        "p99_queue_wait_ms": waits["p99"] * 1e3,
        "max_queue_wait_ms": float(wait[mine].max()) * 1e3,
        "p99_ttft_ms": describe(answers[~np.isnan(answers)])["p99"] * 1e3,
        "max_overtaken": int(passed[mine].max()),
    }
