"""Whether a trace's sessions are conversations that grow, and the `multi_turn:` that looks like them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.choice import build
from sim.insight.traces.fit_lengths import fit_length
from sim.insight.traces.fit_prefix import fit_prefix
from sim.insight.traces.fitting import ks_distance
from sim.request import Segments
from sim.streams import stream
from sim.workload.lengths.lognormal import Z99
from sim.workload.table import Floats, Ints, RequestTable

_MOST = 0.8
"""Later turns that hold this share of the prompt before extend it, and a trace in which so many do is of talks."""
_DRAWN = 20_000


@dataclass(frozen=True, eq=False)
class SessionsFit:
    """Keys of a workload (multi_turn, lengths, prefix, sessions), when sessions start, f8[sessions], and remarks."""

    workload: dict[str, Any]
    starts_s: Floats
    remarks: list[str]


def fit_sessions(table: RequestTable, seed: int = 0) -> SessionsFit | None:
    """Conversations as `chat`; None where the trace knows no sessions, or their prompts do not extend each other."""
    if table.sessions is None or table.segments is None:
        return None
    order, first, turns = _in_sessions(table)
    later = np.flatnonzero(~first)
    segments, prompt, output = table.segments, table.prompt_tokens[order], table.output_tokens[order]
    held = [_common(segments[order[row - 1]], segments[order[row]]) for row in later.tolist()]
    if not later.size or np.mean(np.array(held) >= _MOST * prompt[later - 1]) < _MOST:
        return None
    grown = prompt[later] - prompt[later - 1]
    added = np.maximum(grown - output[later - 1], 1)
    opening = table.take(np.sort(order[first]))
    shared = fit_prefix(opening)
    workload: dict[str, Any] = {
        "multi_turn": {"chat": {"turns": fit_length(turns, seed)[0], **_pauses(table, order, later, seed)}},
        "prompt_tokens": fit_length(added, seed)[0],
        "output_tokens": fit_length(table.output_tokens, seed)[0],
    }
    rest = shared.own_tokens - round(float(added.mean()))
    if shared.rows is None and rest.mean() > 0.1 * added.mean():
        workload["multi_turn"]["chat"]["opening_tokens"] = fit_length(np.maximum(rest, 1), seed)[0]
    if shared.prefix is not None and shared.rows is None:
        workload["prefix"] = shared.prefix
    remarks = []
    if table.turns is None:
        remarks.append("think_time is the recorded time between two requests of a session, answers included")
    if (dropped := float(np.mean(grown < output[later - 1]))) > 1 - _MOST:
        remarks.append(f"{dropped:.0%} of the later prompts grow by less than the answer before: not all of it is kept")
    if (beside := float(np.mean(np.diff(table.turn_numbers()[order])[later - 1] == 0))) > 0:
        remarks.append(f"{beside:.1%} of the later requests were sent side by side; here they come one after another")
    return SessionsFit(workload | {"sessions": len(turns)}, opening.arrival_s, remarks)


def _in_sessions(table: RequestTable) -> tuple[Ints, np.ndarray[Any, np.dtype[np.bool_]], Ints]:
    """Rows session after session, by turn; which are the first; and how many each session has."""
    assert table.sessions is not None
    rows = np.arange(len(table))
    keys = np.where(table.sessions < 0, -1 - rows, table.sessions)
    order = np.lexsort((rows, table.turn_numbers(), keys))
    first = np.append(True, np.diff(keys[order]) != 0)
    return order, first, np.diff(np.append(np.flatnonzero(first), len(table)))


def _common(before: Segments | None, after: Segments | None) -> int:
    """How many tokens two prompts have in common, from the first on."""
    tokens = 0
    for (name, length), (other, other_length) in zip(before or (), after or (), strict=False):
        if name != other:
            break
        tokens += min(length, other_length)
        if length != other_length:
            break
    return tokens


def _pauses(table: RequestTable, order: Ints, later: Ints, seed: int) -> dict[str, Any]:
    """The `think_time` whose distribution is nearest (KS), the simplest of those nearly as near."""
    times = np.diff(table.arrival_s[order])[later - 1] if table.pause_s is None else table.pause_s[order][later]
    mean, median = float(times.mean()), float(np.median(times))
    choices: list[dict[str, Any]] = [{"fixed": {"time": round(median, 3)}}, {"exponential": {"mean": round(mean, 3)}}]
    positive = np.log(times[times > 0])
    if positive.size and positive.std() > 0:
        mu, sigma = float(positive.mean()), float(positive.std())
        fitted = {"median": np.exp(mu), "p99": np.exp(mu + Z99 * sigma), "max": times.max()}
        choices.append({"lognormal": {name: max(round(float(time), 3), 0.001) for name, time in fitted.items()}})
    found = []
    for choice in choices:
        drawn = build("sim.workload.times", choice).draw(stream(seed, "fit.times"), _DRAWN)
        found.append((choice, ks_distance(times, drawn)))
    nearest = min(distance for _, distance in found)
    return {"think_time": next(choice for choice, distance in found if distance <= nearest + 0.01)}
