"""Replicas that are slower for a while: a throttled GPU, a noisy neighbour."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sim.faults import Control
from sim.faults._target import Target
from sim.quantity import Seconds


@dataclass(frozen=True, kw_only=True)
class Straggler(Target):
    """Steps that are decided from `at` to `until` (default: to the end) take `factor` times as long, all of them.

    A replica stays slow through a restart. One GPU sets the pace of its whole tensor-parallel group.
    """

    factor: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """So many times slower. E.g. `1.5`."""
    at: Seconds = 0.0
    """From when."""
    until: Seconds | None = None
    """Until when; default: to the end. E.g. `20min`."""

    def start(self, control: Control) -> None:
        """One event, or two."""
        control.at(self.at, lambda: self._slow(control))

    def _slow(self, control: Control) -> None:
        for replica in self.chosen(control):
            end = control.slow(replica, steps=self.factor)
            if self.until is not None:
                control.at(max(self.until, self.at), end)
