"""Steps that are under way."""

from typing import NamedTuple

import simpy

from sim.plan import StepPlan
from sim.request import Request


class Run:
    """Equal decode steps in a row: how many, when they end (the first item is the start), and when to go on.

    That is at the end of the last step, or, with a step decided ahead, at the end of the last but one.
    """

    __slots__ = ("end", "ends_s", "scheduled", "steps")

    def __init__(self, steps: int, ends_s: list[float], end: simpy.Event) -> None:
        self.steps = steps
        self.scheduled = 1  # of these, by the engine
        self.ends_s = ends_s
        self.end = end


class Flight(NamedTuple):
    """A launched step: when it ends, when its tokens are with the clients, and who is done then."""

    end_s: float
    delivered_s: float
    plan: StepPlan
    finished: list[Request]
