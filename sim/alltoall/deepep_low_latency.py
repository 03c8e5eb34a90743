"""Every token goes straight to each of its experts: DeepEP's kernels for decoding."""

from dataclasses import dataclass

from sim.latency.collectives import links
from sim.latency.handover import Exchange

START_S = 35e-6
"""What a dispatch or a combine takes beside its bytes. Imported: fitted to DeepEP's published table of low-latency
kernels (docs/legacy.md: 128 tokens, 7168 hidden, top 8, 8 to 256 H800), of which it leaves at most 12%."""


@dataclass(frozen=True)
class DeepepLowLatency:
    """A copy for each pick, over NVLink inside a node and over the GPU's own network card beyond, both at once."""

    def seconds(self, exchange: Exchange, total: int, most: int) -> float:
        """Of the GPU with the most tokens, there and back."""
        return sum(one_way_s(exchange, most, size) for size in (exchange.dispatch_bytes, exchange.combine_bytes))


def one_way_s(exchange: Exchange, tokens: int, bytes_per_number: float) -> float:
    """Seconds to send every pick of `tokens` tokens, or to get it back, if picks fall evenly on all GPUs."""
    sent = tokens * exchange.picks * exchange.hidden * bytes_per_number
    slowest_s, near = 0.0, 1.0
    for link in links(exchange.profile):
        there = min(link.reach, exchange.ranks)
        slowest_s = max(slowest_s, sent * (there - near) / exchange.ranks / link.bandwidth_bytes_per_s)
        near = there
    return START_S + slowest_s
