"""First come, first served."""

from dataclasses import dataclass

from sim.request import Request


@dataclass(frozen=True)
class Fcfs:
    """Earlier arrivals first; the latest admitted request is preempted first.

    A preempted request keeps its arrival time and so is next in the queue, as in vLLM.
    """

    def key(self, request: Request) -> tuple[float, ...]:
        """Order by arrival, then id."""
        return (request.arrival_s, request.id)

    def victim(self, running: list[Request]) -> Request:
        """The last of the running list."""
        return running[-1]
