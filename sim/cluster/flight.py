"""Steps that are under way."""

from dataclasses import dataclass
from typing import NamedTuple

import simpy

from sim.engine.plan import StepPlan
from sim.latency import StepTime
from sim.request import Request


class Flight(NamedTuple):
    """A launched step: when it ends, when its tokens are with the clients, and who is done then."""

    end_s: float
    delivered_s: float
    plan: StepPlan
    finished: list[Request]


@dataclass(slots=True)
class Run:
    """Equal decode steps in a row: how many, when they end (the first item is the start), and when to go on.

    That is at the end of the last step, or, with a step decided ahead, at the end of the last but one. `before` is
    the step under way at the start, until it lands; `scheduled` says how many steps the engine has scheduled.
    """

    plan: StepPlan
    steps: int
    ends_s: list[float]
    gaps_s: list[float]
    time: StepTime
    end: simpy.Event
    before: Flight | None
    scheduled: int = 1
