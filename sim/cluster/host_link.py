"""The way between a GPU's memory and its host's, and what lies behind that."""

from dataclasses import dataclass

from sim.kvcache.tiers.transfers import Moved


@dataclass(frozen=True)
class HostLink:
    """How fast KV blocks move, for each GPU of a replica at once, over its own link.

    All that a step waits for goes over the link one after another; what comes from disk, which the replica's GPUs
    share, arrives in host memory meanwhile, so that the slower of the two counts. Many small copies (vLLM 0.6 makes
    one for each block and layer) reach less than the link's bandwidth; that is not modelled.
    `bytes_per_s` of a scenario's GPU is its PCIe bandwidth times `link_bandwidth` of the profile, the share of their
    links that collectives reach: no profile has a share of PCIe's own, as nobody has measured one here.
    """

    bytes_per_block: int
    bytes_per_s: float
    disk_bytes_per_s: float = float("inf")
    gpus: int = 1

    def seconds(self, moved: Moved) -> float:
        """How long a step waits for these blocks."""
        over_link = (moved.to_host + moved.from_host + moved.from_disk) * self.bytes_per_block / self.bytes_per_s
        from_disk = moved.from_disk * self.bytes_per_block * self.gpus / self.disk_bytes_per_s
        return max(over_link, from_disk)
