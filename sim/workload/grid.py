"""Arrival times that were recorded on a coarse grid, such as whole seconds: found, and spread out again."""

import dataclasses
from typing import Literal

import numpy as np

from sim.errors import TraceError
from sim.quantity import Seconds
from sim.workload.table import Floats, Ints, RequestTable, rounded
from sim.workload.waiting import starts_s

_MANY_TIES = 0.1
_FEWEST = 20  # a handful of gaps is on some grid by chance
_DRIFT = 0.02


def coarse_grid_s(arrival_s: Floats) -> float | None:
    """The spacing of the grid that sorted times sit on, in seconds; None where ties are rare or there is no grid.

    A grid: over a tenth of the gaps are 0, and nearly all others (99 %) are whole multiples of the shortest usual
    gap, to 2 % of it, for recorded grids drift by some milliseconds.
    """
    gaps = np.diff(arrival_s)
    steps = gaps[gaps > 0]
    if len(gaps) < _FEWEST or len(steps) < 2 or len(steps) > (1 - _MANY_TIES) * len(gaps):
        return None
    shortest = float(np.quantile(steps, 0.001, method="lower"))
    spacing = float(np.median(steps[steps < 1.5 * shortest]))
    off = np.abs(steps / spacing - np.rint(steps / spacing))
    near = off <= _DRIFT * np.maximum(np.rint(steps / spacing), 1)
    return spacing if near.mean() > 0.99 else None


def spread(table: RequestTable, jitter: Literal["grid"] | Seconds, rng: np.random.Generator) -> RequestTable:
    """The requests with each arrival moved later by an even draw from [0, jitter), in their new order, and a note.

    Requests of one session keep their order. Raises TraceError for `grid` where the times sit on none.
    """
    width_s = jitter if jitter != "grid" else coarse_grid_s(starts_s(table))
    if width_s is None:
        raise TraceError(f"jitter: grid, but the times of {table.source} sit on no coarse grid; leave jitter out")
    moved = table.arrival_s + rng.random(len(table)) * width_s
    if table.turns is not None:  # of sessions, by their first requests
        begins = table.session_begins()
        moved = np.repeat(moved[begins], np.diff(np.append(begins, len(table))))
    elif table.sessions is not None:
        moved = _in_session_order(moved, table.sessions)
    order = np.argsort(moved, kind="stable")
    note = f"arrivals spread evenly within {width_s:.3g} s of their recorded times (jitter; stream workload.jitter)"
    return table.take(order, arrival_s=rounded(moved[order]), notes=(*table.notes, note))


def told_of_grid(table: RequestTable) -> RequestTable:
    """The same requests, with a note if their times are on a coarse grid."""
    grid_s = coarse_grid_s(starts_s(table))
    if grid_s is None:
        return table
    note = f"arrivals were recorded on a grid of {grid_s:.3g} s and replayed so, in bursts; jitter: grid spreads them"
    return dataclasses.replace(table, notes=(*table.notes, note))


def _in_session_order(moved: Floats, sessions: Ints) -> Floats:
    """Times handed out again within each session, earliest first."""
    by_session = np.argsort(sessions, kind="stable")
    by_time = np.lexsort((moved, sessions))
    out = moved.copy()
    held = sessions[by_session] >= 0
    out[by_session[held]] = moved[by_time[held]]
    return out
