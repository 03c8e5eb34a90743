"""Links that are slower for a while."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sim.faults import Control
from sim.faults._target import Target
from sim.quantity import Seconds


@dataclass(frozen=True, kw_only=True)
class SlowLink(Target):
    """From `at` to `until` (default: to the end) what goes over the replicas' links takes `factor` times as long.

    These are the collectives between their GPUs and the KV blocks that move between GPU and host. A link that is cut
    stops all who need it: that is a crash.
    """

    factor: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """So many times slower. E.g. `4.0`."""
    at: Seconds = 0.0
    """From when."""
    until: Seconds | None = None
    """Until when; default: to the end. E.g. `20min`."""

    def start(self, control: Control) -> None:
        """One event, or two."""
        control.at(self.at, lambda: self._slow(control))

    def _slow(self, control: Control) -> None:
        for replica in self.chosen(control):
            end = control.slow(replica, links=self.factor)
            if self.until is not None:
                control.at(max(self.until, self.at), end)
