"""Every GPU gets all tokens, and the sums come back: vLLM's default, which needs no further library."""

from dataclasses import dataclass

from sim.latency.collectives import collective_s
from sim.latency.handover import Exchange
from sim.models.operations import Operation


@dataclass(frozen=True)
class AllgatherReducescatter:
    """Two rings that carry bf16, as the all-gather and the reduce-scatter of an all-reduce do."""

    def seconds(self, exchange: Exchange, total: int, most: int) -> float:
        """Twice (r - 1)/r of all tokens' bytes, however they are spread."""
        share = total * exchange.hidden * exchange.combine_bytes / exchange.ranks
        ring = Operation("all_gather", "tokens", 1, 0, share, share, comm_bytes=share, ranks=exchange.ranks)
        return 2 * (float(collective_s(ring, exchange.profile)) + exchange.profile.kernel_latency_s)
