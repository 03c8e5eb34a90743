"""The gaps between each request's tokens, from the steps of its replica."""

import numpy as np
import pandas as pd

from sim.metrics.context import Floats


def token_gaps(requests: pd.DataFrame, steps: pd.DataFrame) -> tuple[list[Floats], int]:
    """Gaps in seconds, one array per request (empty before a second token), and how many requests' gaps are guessed.

    The record keeps steps, not the tokens of each request. A request that got a token in every step of its replica
    between its first and its last (or since the replica that decodes took it over) has the gaps of those steps, steps
    that share a row of the table taken as equally long; all others, such as a preempted one, are given equal gaps.
    Either way they sum to last - first token.
    """
    ends = {one: step_ends(steps[steps["replica"] == one]) for one in steps["replica"].unique().tolist()}
    found, guessed = [], 0
    begin = requests["first_token_s"]
    if "decode_scheduled_s" in requests:
        begin = requests["decode_scheduled_s"].fillna(begin)
    columns = (requests[name].tolist() for name in ("replica", "first_token_s", "finish_s", "generated_tokens"))
    for replica, first, last, tokens, since in zip(*columns, begin.tolist(), strict=True):
        count = int(tokens) - 1
        if count < 1 or not last >= first:
            found.append(np.empty(0))
            continue
        mine = ends.get(int(replica), np.empty(0))
        low, high = np.searchsorted(mine, (since + 1e-9, last + 1e-9))
        if high - low != count:
            guessed += 1
            found.append(np.full(count, (last - first) / count))
            continue
        # clients have a token a little later than its step ends, all about equally
        times = np.clip(mine[low:high] + (last - mine[high - 1]), first, last)
        times[-1] = last
        found.append(np.diff(times, prepend=first))
    return found, guessed


def step_ends(rows: pd.DataFrame) -> Floats:
    """When each step of one replica ended, rising."""
    rows = rows.sort_values("end_s", kind="stable")
    count = rows["steps"].to_numpy()
    start, end = rows["start_s"].to_numpy(), rows["end_s"].to_numpy()
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + 1
    ends: Floats = np.repeat(start, count) + np.repeat((end - start) / count, count) * number
    ends[np.cumsum(count) - 1] = end  # the last of a row to the digit
    return ends
