"""A new version is rolled out: replicas restart a few at a time."""

from collections import deque
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sim.faults import Control
from sim.faults._target import Target
from sim.quantity import Seconds


@dataclass(frozen=True, kw_only=True)
class RollingRestart(Target):
    """From `at` on each replica drains and starts again, cold, `at_once` at the same time.

    One that has not finished its requests `grace` after it got the last is stopped; default: all are waited for.
    """

    at: Seconds
    """When the first begin. E.g. `10min`."""
    at_once: Annotated[int, Field(ge=1)] = 1
    """How many restart at one time."""
    grace: Seconds | None = None
    """Longest time to finish what runs; default: as long as it takes. E.g. `30s`."""

    def start(self, control: Control) -> None:
        """The next begins when one serves again."""
        control.at(self.at, lambda: self._begin(control))

    def _begin(self, control: Control) -> None:
        to_come = deque(self.chosen(control))

        def one_more() -> None:
            while to_come:
                replica = to_come.popleft()
                if replica in control.here(None):
                    control.restart(replica, self.grace, one_more)
                    return

        for _ in range(self.at_once):
            one_more()
