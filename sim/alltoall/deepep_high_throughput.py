"""Every token crosses the network once for each node, and NVLink once for each GPU: DeepEP's kernels for prefill."""

from dataclasses import dataclass

from sim.alltoall.deepep_low_latency import START_S
from sim.latency.collectives import links
from sim.latency.handover import Exchange


@dataclass(frozen=True)
class DeepepHighThroughput:
    """The network and NVLink work at once. Its start is taken to be that of the low-latency kernels (assumed)."""

    def seconds(self, exchange: Exchange, total: int, most: int) -> float:
        """Of the GPU with the most tokens, there and back."""
        near, *_, network = links(exchange.profile)
        ranks, nodes = exchange.ranks, max(1, exchange.ranks // exchange.profile.gpus_per_node)
        over_network = _places(nodes, exchange.picks) * (nodes - 1) / nodes
        over_nvlink = _places(ranks, exchange.picks) * (ranks - 1) / ranks
        per_token_s = max(over_network / network.bandwidth_bytes_per_s, over_nvlink / near.bandwidth_bytes_per_s)
        sizes = exchange.dispatch_bytes + exchange.combine_bytes
        return 2 * START_S + most * exchange.hidden * sizes * per_token_s


def _places(places: int, picks: int) -> float:
    """How many of equally likely places at least one of the picks falls on."""
    missed = 1.0
    for _ in range(picks):
        missed *= 1.0 - 1.0 / places
    return places * (1.0 - missed)
