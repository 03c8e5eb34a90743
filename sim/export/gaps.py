"""The gaps between each request's tokens, from the steps of its replica."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim.metrics.context import Floats

_ROUNDING_S = 1e-9


def token_gaps(requests: pd.DataFrame, steps: pd.DataFrame, pauses: pd.DataFrame) -> tuple[list[Floats], int]:
    """Gaps in seconds, one array per request (empty before a second token), and how many requests' gaps are guessed.

    The record keeps steps, not the tokens of each request. A request gets a token in every step of its replica that
    decodes, from its first one on (or since the replica that decodes took it over) but for its pauses; steps that share
    a row of the table are taken as equally long. Where that does not come to its number of tokens, as with drafts, it
    is given equal gaps. Of a finished request they sum to last - first token.
    """
    ends = {one: (step_ends(rows), each_step(rows, "decodes") > 0) for one, rows in steps.groupby("replica")}
    paused = {one: rows[["start_s", "end_s"]].to_numpy() for one, rows in pauses.groupby("request")}
    begin = requests["first_token_s"]
    if "decode_scheduled_s" in requests:
        begin = requests["decode_scheduled_s"].fillna(begin)
    names = ("id", "replica", "first_token_s", "finish_s", "generated_tokens", "status")
    found, guessed = [], 0
    for since, id, replica, first, last, tokens, status in zip(
        begin.tolist(), *(requests[name].tolist() for name in names), strict=True
    ):
        count = int(tokens) - 1
        if count < 1 or not last >= first:
            found.append(np.empty(0))
            continue
        mine, gives = ends.get(replica, (np.empty(0), np.empty(0, bool)))
        there = slice(*np.searchsorted(mine, (since + _ROUNDING_S, last + _ROUNDING_S)))
        mine, gives = mine[there], gives[there]
        mine = mine[_missing(mine, gives, paused[id]) if id in paused else gives]
        if status != "finished":  # what was under way when it was given up, nobody got
            found.append(np.diff(mine[:count], prepend=first))
        elif len(mine) != count:
            guessed += 1
            found.append(np.full(count, (last - first) / count))
        else:
            # clients have a token a little later than its step ends, all about equally
            times = np.clip(mine + (last - mine[-1]), first, last)
            times[-1] = last
            found.append(np.diff(times, prepend=first))
    return found, guessed


def _missing(ends: Floats, gives: NDArray[np.bool_], pauses: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of the steps give a request its tokens, when it missed those between the tokens of each pause.

    The end of a step within a row lies only about where it is told, so the steps of a pause's tokens are the nearest.
    """
    gives = gives.copy()
    for start, end in pauses.tolist() if len(ends) else ():
        before = -1 if start < ends[0] - _ROUNDING_S else int(np.argmin(np.abs(ends - start)))
        after = int(np.argmin(np.abs(ends - end)))
        gives[before + 1 : after] = False
        gives[after] = True
    return gives


def each_step(rows: pd.DataFrame, column: str) -> NDArray[Any]:
    """A column's value for each step of one replica, in the order of `step_ends`."""
    rows = rows.sort_values("end_s", kind="stable")
    return np.repeat(rows[column].to_numpy(), rows["steps"].to_numpy())


def step_ends(rows: pd.DataFrame) -> Floats:
    """When each step of one replica ended, rising."""
    rows = rows.sort_values("end_s", kind="stable")
    count = rows["steps"].to_numpy()
    start, end = rows["start_s"].to_numpy(), rows["end_s"].to_numpy()
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + 1
    ends: Floats = np.repeat(start, count) + np.repeat((end - start) / count, count) * number
    ends[np.cumsum(count) - 1] = end  # the last of a row to the digit
    return ends
