"""Links that are slower for a while."""

from dataclasses import dataclass

from sim.faults import Act, Control
from sim.faults._target import Slower


@dataclass(frozen=True, kw_only=True)
class SlowLink(Slower):
    """From `at` to `until` (default: to the end) what goes over the replicas' links takes `factor` times as long.

    These are the collectives between their GPUs and the KV blocks that move between GPU and host. A link that is cut
    stops all who need it: that is a crash.
    """

    def slow(self, control: Control, replica: int) -> Act:
        """Slow its links down; return what ends it."""
        return control.slow(replica, links=self.factor)
