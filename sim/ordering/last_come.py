"""Last come, first served."""

from dataclasses import dataclass

from sim.request import Request


@dataclass(frozen=True)
class LastCome:
    """Latest arrivals first: under overload the newest are served in time, and the oldest hardly ever.

    The earliest arrival is preempted first; it then waits behind everybody.
    """

    def key(self, request: Request) -> tuple[float, ...]:
        """Order by arrival, then id, from the last."""
        return (-request.arrival_s, -request.id)

    def victim(self, running: list[Request]) -> Request:
        """The earliest arrival."""
        return max(running, key=self.key)
