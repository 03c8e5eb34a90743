"""Virtual time with exact instants.

SimPy schedules by delay, and `now + (t - now)` is not always `t` in floating point. Here an event is put
at an absolute time, so that it lies exactly where it was computed to lie, whichever event asked for it.
"""

from heapq import heappush

import simpy

ARRIVAL_ORDER = 0
"""Arrivals known beforehand come before anything else at the same time, so that the next step sees them."""

LINK_ORDER = 1
"""Then transfers over links end, so that a step that is decided at that time sees what came."""

SNAPSHOT_ORDER = -1
"""What a router is told at some time is true before anything else happens then."""

REPLICA_ORDER = 2
"""Replica k's steps end in order 2 + k: ties do not depend on which event was made first."""

ANSWERED_ORDER = 1 << 30
"""Arrivals that answers bring about come after all steps that end at the same time, whichever caused them."""

SNAPSHOT_AFTER_STEPS_ORDER = ANSWERED_ORDER - 1
"""The same where arrivals come after steps that end at the same time."""

WAKE_ORDER = ANSWERED_ORDER + 1
"""An idle replica k starts in order WAKE_ORDER + k, when all that arrives at the same time is there."""


class At(simpy.Event):
    """An event at an absolute time in seconds; of those at the same time the lower `order` comes first.

    It lies on SimPy's own queue as a `Timeout` does, but with the time itself instead of a delay.
    """

    def __init__(self, env: simpy.Environment, time_s: float, order: int) -> None:
        self.env = env
        self.callbacks = []
        self._ok = True
        self._value = None
        heappush(env._queue, (time_s, order, next(env._eid), self))  # type: ignore[misc]


def succeed_at(event: simpy.Event, time_s: float, order: int) -> None:
    """Let a pending event happen at an absolute time."""
    event._ok = True
    event._value = None
    env = event.env
    heappush(env._queue, (time_s, order, next(env._eid), event))  # type: ignore[misc]
