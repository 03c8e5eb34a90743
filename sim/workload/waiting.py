"""Traces whose turns wait for the answers before them, as the file tells or as its user wishes."""

from typing import Any, NamedTuple

import numpy as np

from sim.errors import TraceError
from sim.workload.table import Bools, Floats, Ints, RequestTable


class Wait(NamedTuple):
    """How a row waits: `pause_s` after the answers to the turn before; `turn` numbers requests sent side by side."""

    pause_s: float
    turn: int | None = None


def as_told(table: RequestTable, waits: list[Wait | None]) -> RequestTable:
    """The table with turns that wait where rows say so, sessions by their start, and their rows together.

    Sessions of which no row says so are sent at their recorded times, as one turn. Raises TraceError for a request
    that waits and is of no session, and for one that does not in a session whose others do.
    """
    begins, order, first = _gathered(table)
    alone = np.flatnonzero([wait is not None and wait.pause_s > 0 for wait in waits])
    if alone.size and (table.sessions is None or (table.sessions[alone] < 0).any()):
        raise TraceError(f"{table.source}: a request that waits for an answer names no session; give it one")
    told = np.array([wait is not None for wait in waits], dtype=bool)
    number = np.cumsum(first) - 1
    waiting = np.logical_or.reduceat(told[order], begins)[number]
    odd = np.flatnonzero(~told[order] & waiting & ~first)
    if odd.size:
        raise TraceError(
            f"{table.source}: request {int(order[odd[0]])} (from 0) brings no pause, as others of its session do; "
            "give all later turns of a session one, or none"
        )
    pause_s = np.array([0.0 if wait is None else wait.pause_s for wait in waits])[order]
    named = np.array([-1 if wait is None or wait.turn is None else wait.turn for wait in waits])[order]
    same = np.append(False, (np.diff(named) == 0) & (named[1:] >= 0)) & ~first
    arrival_s = table.arrival_s[order]
    starts_s = arrival_s[begins][number]
    turns = _counted(first, waiting & ~same & ~first)
    return table.take(
        order,
        arrival_s=starts_s,
        sessions=_sessions(table, order),
        turns=turns,
        pause_s=np.where(first, 0.0, np.where(waiting, pause_s, arrival_s - starts_s)),
    )


def after_thinking(table: RequestTable, think_time: Any, rng: np.random.Generator) -> RequestTable:
    """The table with every later request of a session sent a drawn think time after the answer before.

    Raises TraceError where no sessions are known.
    """
    if table.sessions is None:
        raise TraceError(
            f"{table.source} tells no sessions, so nothing can wait for the answer before; leave wait: out"
        )
    _, order, first = _gathered(table)
    pause_s = np.where(first, 0.0, think_time.draw(rng, len(table)))
    arrival_s = table.arrival_s[order]
    starts_s = arrival_s[np.flatnonzero(first)][np.cumsum(first) - 1]
    note = "later requests of a session are sent after the answer before and a drawn think time, not as recorded (wait)"
    return table.take(
        order, arrival_s=starts_s, sessions=_sessions(table, order), turns=_counted(first, ~first), pause_s=pause_s,
        notes=(*table.notes, note),
    )  # fmt: skip


def _gathered(table: RequestTable) -> tuple[Ints, Ints, Bools]:
    """Where sessions begin, an order of rows in which they stand together, by start; and the first row of each."""
    rows = np.arange(len(table))
    sessions = np.full(len(table), -1) if table.sessions is None else table.sessions
    keys = np.where(sessions < 0, -1 - rows, sessions)
    _, begin, member = np.unique(keys, return_index=True, return_inverse=True)
    order = np.lexsort((rows, begin[member]))
    first = np.append(True, np.diff(begin[member][order]) != 0)
    return np.flatnonzero(first), order, first


def _sessions(table: RequestTable, order: Ints) -> Ints:
    return np.full(len(order), -1) if table.sessions is None else table.sessions[order]


def _counted(first: Bools, next_turn: Bools) -> Ints:
    """Turns from 1 in each session, one more where `next_turn`."""
    steps = np.cumsum(next_turn)
    turns: Ints = steps - steps[np.flatnonzero(first)][np.cumsum(first) - 1] + 1
    return turns


def starts_s(table: RequestTable) -> Floats:
    """When sessions start where turns wait, else when requests arrive: the times that an arrival process makes."""
    return table.arrival_s if table.turns is None else table.arrival_s[table.session_begins()]
