"""Urgent requests first."""

from dataclasses import dataclass

from sim.request import Request


@dataclass(frozen=True)
class Priority:
    """Lower `priority` numbers first, then earlier arrivals; the least urgent is preempted first.

    A waiting request never preempts a running one for its priority alone, as in vLLM.
    """

    def key(self, request: Request) -> tuple[float, ...]:
        """Order by priority, then arrival, then id."""
        return (request.priority, request.arrival_s, request.id)

    def victim(self, running: list[Request]) -> Request:
        """The least urgent, latest arrived; of equals the one admitted first."""
        return max(running, key=lambda request: (request.priority, request.arrival_s))
