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
        """The least urgent, then the latest to arrive, then the highest id.

        vLLM ends with the one admitted first. Its clock never gives two requests one arrival time; a trace
        may, and then three of them can preempt each other in turn for ever.
        """
        return max(running, key=self.key)
