"""Through what a replica's KV leaves for another replica, or comes from there."""

from dataclasses import dataclass
from typing import Literal

from sim.hardware import Profile
from sim.latency.collectives import PCIE_HOP_S, links

LinkKind = Literal["network", "island", "pcie"]


@dataclass(frozen=True)
class Outlet:
    """The ports of a replica: bytes/s of all of them in one direction, and seconds of a hop.

    `sharing` replicas that stand side by side have them in common.
    """

    bytes_per_s: float = 1e12
    hop_s: float = 0.0
    sharing: int = 1


def outlet(profile: Profile, gpus: int, kind: LinkKind) -> Outlet:
    """What the `gpus` GPUs of one replica have of a kind of link.

    network: the cards of their nodes, which all GPUs share evenly; of replicas with less than a card's share of GPUs
    several use one card. island: each GPU's own fast link (NVLink). pcie: each GPU's own PCIe link.
    """
    share = profile.derates.link_bandwidth
    if kind == "pcie":
        return Outlet(profile.pcie_bandwidth_bytes_per_s * share * gpus, PCIE_HOP_S)
    if kind == "island":
        return Outlet(profile.intra_node_bandwidth_bytes_per_s * share * gpus, profile.intra_node_latency_s)
    network = links(profile)[-1]
    node, cards = profile.gpus_per_node, profile.nics_per_node or profile.gpus_per_node
    card_bytes_per_s = network.bandwidth_bytes_per_s * node / cards
    return Outlet(card_bytes_per_s * max(gpus * cards / node, 1.0), network.hop_s, max(node // (cards * gpus), 1))
