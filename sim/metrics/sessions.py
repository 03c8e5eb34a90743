"""Sessions: how long they last, how long each of their turns takes, and how turns change as the context grows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.metrics.context import Columns, RunContext
from sim.metrics.latency import completed
from sim.metrics.numbers import describe, exact_sum, ratio

_TURNS_TOLD = 10
"""Later turns are told together."""


def sessions(requests: Columns, context: RunContext) -> dict[str, Any] | None:
    """What became of the sessions whose first request is measured, in ms; None where no sessions are known.

    `completed` sessions are those of which every request finished; the others ended early, and `requests_not_sent` is
    what all sessions of the run would have sent after that. Of the completed: turns, `session` time from the first
    request's arrival to the last answer, and the part of it spent `waiting` for answers. `turn` time goes from a
    turn's first arrival to its last answer.
    """
    if "session" not in requests:
        return None
    order = np.lexsort((requests["turn"], requests["session"]))
    order = order[requests["session"][order] >= 0]
    if not order.size:
        return None
    table = {name: column[order] for name, column in requests.items()}
    session, turn = table["session"], table["turn"]
    new_session = np.append(True, np.diff(session) != 0)
    turn_begins = np.flatnonzero(new_session | np.append(True, np.diff(turn) != 0))
    finished = np.logical_and.reduceat(table["status"] == "finished", turn_begins)
    sent_s = np.minimum.reduceat(table["arrival_s"], turn_begins)
    answered_s = np.maximum.reduceat(table["finish_s"], turn_begins)
    turn_s = answered_s - sent_s
    begins = np.flatnonzero(new_session[turn_begins])
    counted = table["measured"][turn_begins][begins].astype(bool)
    whole = np.logical_and.reduceat(finished, begins) & counted
    turns = np.diff(np.append(begins, len(turn_begins)))
    measured = np.logical_and.reduceat(completed(table), turn_begins)
    figures = {
        "session": np.maximum.reduceat(answered_s, begins) - sent_s[begins],
        "waiting": np.add.reduceat(np.where(finished, turn_s, 0.0), begins),
    }
    times = {name: describe(values[whole]) for name, values in figures.items()} | {"turn": describe(turn_s[measured])}
    done = turns[whole]
    return {
        "sessions": int(counted.sum()),
        "completed": int(whole.sum()),
        "ended_early": int((counted & ~whole).sum()),
        "requests_not_sent": context.counters.get("requests_not_sent", 0),
        "mean_turns": ratio(int(done.sum()), done.size),
        "max_turns": int(done.max(initial=0)),
        **{f"{statistic}_{name}_ms": value * 1e3 for name, told in times.items() for statistic, value in told.items()},
        "by_turn": _by_turn(table),
    }


def _by_turn(requests: Columns) -> list[dict[str, Any]]:
    """Measured and finished requests by their place in the session; the last entry has all later turns."""
    done = completed(requests)
    place = np.minimum(requests["turn"], _TURNS_TOLD)
    return [_told(requests, done & (place == turn), turn) for turn in range(1, int(place[done].max(initial=0)) + 1)]


def _told(requests: Columns, rows: NDArray[np.bool_], turn: int) -> dict[str, Any]:
    count = int(rows.sum())
    prompts = int(requests["prompt_tokens"][rows].sum())
    ttft_s = (requests["first_token_s"] - requests["arrival_s"])[rows]
    return {
        "turn": turn,
        "and_later": turn == _TURNS_TOLD,
        "requests": count,
        "mean_prompt_tokens": ratio(prompts, count),
        "cached_share": ratio(int(requests["cached_tokens"][rows].sum()), prompts),
        "mean_ttft_ms": ratio(exact_sum(ttft_s) * 1e3, count),
    }
