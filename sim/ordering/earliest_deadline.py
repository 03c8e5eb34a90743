"""Earliest deadline first."""

from dataclasses import dataclass

from sim.ordering._deadlines import Within, deadline_s
from sim.request import Request


@dataclass(frozen=True)
class EarliestDeadline:
    """The request that is due first: `within` after its arrival, one time for each priority.

    `within: {0: 2s, other: 30s}` gives requests of priority 0 two seconds. With one time for all it is fcfs. The
    latest deadline is preempted first.
    """

    within: Within
    """Time from arrival to deadline, for all or by priority. E.g. `{0: 2s, other: 30s}`."""

    def key(self, request: Request) -> tuple[float, ...]:
        """Order by deadline, then arrival, then id."""
        return (deadline_s(request, self.within), request.arrival_s, request.id)

    def victim(self, running: list[Request]) -> Request:
        """The one that is due last."""
        return max(running, key=self.key)
