"""The cloud takes spot machines back."""

from dataclasses import dataclass

from sim.faults import Control
from sim.faults._target import Target
from sim.quantity import Seconds


@dataclass(frozen=True, kw_only=True)
class SpotLoss(Target):
    """At `at` the replicas get no more requests, and `notice` later they are gone, with what is not done by then.

    Clouds give 30 s (Azure, Google) to 2 min (AWS) of notice, by their documentation.
    """

    at: Seconds
    """When the notice comes. E.g. `10min`."""
    notice: Seconds = 30.0
    """From the notice to the loss."""

    def start(self, control: Control) -> None:
        """One event, and one for each replica."""
        control.at(self.at, lambda: self._lose(control))

    def _lose(self, control: Control) -> None:
        for replica in self.chosen(control):
            control.lose(replica, self.notice)
