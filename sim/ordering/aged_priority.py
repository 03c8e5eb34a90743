"""Urgent requests first, but nobody waits for ever."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sim.quantity import Seconds
from sim.request import Request


@dataclass(frozen=True)
class AgedPriority:
    """As `priority`, but a request gains one level for every `level` that it has waited.

    All gain at one rate, so that who is first never changes while they wait: at time t the order is by
    priority - (t - arrival) / level, which is the order by priority + arrival / level at any t. A request of
    level p is behind those of level q < p that arrive up to (p - q) * level after it, and behind no later one.
    """

    level: Annotated[Seconds, Field(gt=0)] = 10.0
    """Waiting so long is worth one level of priority. E.g. `10s`."""

    def key(self, request: Request) -> tuple[float, ...]:
        """Order by aged priority, then arrival, then id."""
        aged = request.priority + request.arrival_s / self.level
        return (aged, request.arrival_s, request.id)

    def victim(self, running: list[Request]) -> Request:
        """The last in this order."""
        return max(running, key=self.key)
