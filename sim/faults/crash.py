"""Replicas crash, all at once: a process, or with `count` all that a node held."""

from dataclasses import dataclass

from sim.faults import Control
from sim.faults._target import Target
from sim.quantity import Seconds


@dataclass(frozen=True, kw_only=True)
class Crash(Target):
    """At `at` the replicas are lost with their KV; `restart_after` that they start again, cold. Default: never."""

    at: Seconds
    """When. E.g. `10min`."""
    restart_after: Seconds | None = None
    """How long after it they start again, cold; default: never. E.g. `30s`."""

    def start(self, control: Control) -> None:
        """One event."""
        control.at(self.at, lambda: self._crash(control))

    def _crash(self, control: Control) -> None:
        for replica in self.chosen(control):
            control.crash(replica, self.restart_after)
