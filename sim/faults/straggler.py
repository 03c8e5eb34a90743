"""Replicas that are slower for a while: a throttled GPU, a noisy neighbour."""

from dataclasses import dataclass

from sim.faults import Act, Control
from sim.faults._target import Slower


@dataclass(frozen=True, kw_only=True)
class Straggler(Slower):
    """Steps that are decided from `at` to `until` (default: to the end) take `factor` times as long, all of them.

    A replica stays slow through a restart. One GPU sets the pace of its whole tensor-parallel group.
    """

    def slow(self, control: Control, replica: int) -> Act:
        """Slow its steps down; return what ends it."""
        return control.slow(replica, steps=self.factor)
