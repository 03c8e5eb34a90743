"""Virtual time with exact instants.

SimPy schedules by delay, and `now + (t - now)` is not always `t` in floating point. Here an event is put
at an absolute time, so that it lies exactly where it was computed to lie, whichever event asked for it.
"""

from heapq import heappush

import simpy

ARRIVAL_ORDER = 0
"""Arrivals known beforehand come before anything else at the same time, so that the next step sees them."""

REPLICA_ORDER = 2
"""Replica k's steps end in order 2 + k: ties do not depend on which event was made first."""

ANSWERED_ORDER = 1 << 30
"""Arrivals that answers bring about come after all steps that end at the same time, whichever caused them."""


class At(simpy.Event):
    """An event at an absolute time in seconds; of those at the same time the lower `order` comes first.

    Pushes onto SimPy's own queue as `Timeout` does, but with the time itself instead of a delay.
    """

    def __init__(self, env: simpy.Environment, time_s: float, order: int) -> None:
        self.env = env
        self.callbacks = []
        self._ok = True
        self._value = None
        heappush(env._queue, (time_s, order, next(env._eid), self))  # type: ignore[misc,arg-type]
