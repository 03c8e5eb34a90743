"""What GPUs take to exchange data: over the fast link of an island, over PCIe in a node, over the network.

Ranks fill islands, and islands nodes, in order. Inside one island (the whole node, if nothing else is said) the
time is vLLM's own kernel for small messages and a ring for the others. Beyond, it is that of NCCL's tuning model:
rings that visit every GPU of a node before they leave it, one for each network card, so that a node's cards work
at once; or, for small messages, a chain inside each node and a tree between the nodes.

Source: NCCL, src/graph/tuning.cc. Of the 2 (ranks - 1) steps of a ring, 2 (nodes - 1) cross the network. A tree has
2 (log2(nodes) + ranks of a node - 1) steps, at 0.92 of the bandwidth, and carries the bytes up and down.
"""

from math import ceil, inf, log2
from typing import NamedTuple

import numpy as np

from sim.hardware import Profile
from sim.models.operations import Amount, Operation

PCIE_HOP_S = 5.7e-6
"""A step of a ring over PCIe. Source: NCCL, src/graph/tuning.cc, hwLat, PCI, ring, simple protocol."""

TREE_SHARE = 0.92
"""Of the bandwidth that a ring gets. Source: NCCL, src/graph/tuning.cc."""

NETWORK_SHARE = 0.94
"""Of a card's bandwidth that large messages get. Imported: 46 to 48 of 50 GB/s for each card, according to NCCL's
maintainers (NVIDIA/nccl-tests, issue 290)."""


class Link(NamedTuple):
    """What joins GPUs at one level: how many it reaches, bytes/s of one GPU in one direction, seconds of a hop."""

    reach: float
    bandwidth_bytes_per_s: float
    hop_s: float


def links(profile: Profile) -> list[Link]:
    """The links of a GPU, nearest first: of its island, of its node if that is larger, and between nodes."""
    share = profile.derates.link_bandwidth
    node, island = profile.gpus_per_node, island_of(profile)
    cards = profile.nics_per_node or node
    found = [Link(island, profile.intra_node_bandwidth_bytes_per_s * share, profile.intra_node_latency_s)]
    if island < node:
        found.append(Link(node, profile.pcie_bandwidth_bytes_per_s * share, PCIE_HOP_S))
    network = profile.inter_node_bandwidth_bytes_per_s * (cards / node) * NETWORK_SHARE
    return [*found, Link(inf, network, profile.inter_node_latency_s)]


def island_of(profile: Profile) -> int:
    """GPUs that the fast link joins."""
    return min(profile.gpus_per_island or profile.gpus_per_node, profile.gpus_per_node)


def link_between(profile: Profile, first: int, second: int) -> Link:
    """The link between two GPUs that are counted from the start of a node."""
    return next(link for link in links(profile) if link.reach == inf or first // link.reach == second // link.reach)


def leaves_the_points(operation: Operation, profile: Profile) -> bool:
    """Whether a collective crosses a boundary that the scenario or the profile draws: points know of none."""
    return profile.gpus_per_island is not None and operation.ranks > island_of(profile)


def collective_s(operation: Operation, profile: Profile) -> Amount:
    """Seconds of one run of a collective, without the latency of its kernel: one per step if its bytes are arrays.

    all_reduce: comm_bytes in all of every rank. all_gather: comm_bytes are one rank's share.
    """
    if operation.ranks > island_of(profile):
        return _across(operation, profile)
    if operation.kind == "all_reduce":
        return _all_reduce(operation, profile)
    return _ring(operation, profile)


_SHOT_BYTES = 8 << 20
_ONE_SHOT_BYTES = {3: 512 << 10, 4: 512 << 10, 5: 256 << 10, 6: 256 << 10, 7: 256 << 10, 8: 256 << 10}


def _all_reduce(operation: Operation, profile: Profile) -> Amount:
    """Small all-reduces inside an island go straight through the peers' memory, as in vLLM; the rest is a ring.

    One shot, every GPU reading (r-1) * bytes: two GPUs always, up to four below 512 KiB, up to eight below
    256 KiB; else two shots of (r-1)/r * bytes each; from 8 MiB on a ring. Source: vLLM,
    csrc/custom_all_reduce.cuh and its max_size.
    """
    ring = _ring(operation, profile)
    ranks, payload = operation.ranks, operation.comm_bytes
    one, two = profile.all_reduce_one_shot_s, profile.all_reduce_two_shot_s
    bandwidth = profile.all_reduce_shot_bandwidth_bytes_per_s
    if one is None or two is None or bandwidth is None:
        return ring
    two_shots = two + payload * (2 * (ranks - 1) / ranks) / bandwidth
    one_shot = one + payload * (ranks - 1) / bandwidth
    limit = _SHOT_BYTES if ranks == 2 else _ONE_SHOT_BYTES.get(ranks, 0)
    small: Amount = np.where(np.asarray(payload) < limit, one_shot, two_shots)
    time: Amount = np.where(np.asarray(payload) < _SHOT_BYTES, small, ring)
    return time if isinstance(payload, np.ndarray) else float(time)


def _ring(operation: Operation, profile: Profile) -> Amount:
    """A ring: reduce-scatter and all-gather, each of ranks - 1 hops that carry 1/ranks of the bytes.

    all_reduce: 2 (r-1)/r * bytes / bandwidth + 2 (r-1) * latency; all_gather: (r-1) * bytes / bandwidth + (r-1) *
    latency.
    """
    ranks = operation.ranks
    bandwidth = profile.intra_node_bandwidth_bytes_per_s * profile.derates.link_bandwidth
    hops = 2 * (ranks - 1) if operation.kind == "all_reduce" else ranks - 1
    carried = hops / ranks if operation.kind == "all_reduce" else hops
    time: Amount = operation.comm_bytes * carried / bandwidth + hops * profile.intra_node_latency_s
    return time


def _across(operation: Operation, profile: Profile) -> Amount:
    """The faster of ring and tree over several islands or nodes; see the top of this file."""
    ranks, payload = operation.ranks, operation.comm_bytes
    bandwidth, ring_s, tree_s, groups = inf, 0.0, 0.0, ranks
    for link, members, fan in _levels(ranks, profile):
        groups //= fan
        bandwidth = min(bandwidth, link.bandwidth_bytes_per_s * members)
        ring_s += groups * (fan - 1) * link.hop_s
        steps = ceil(log2(fan)) if link.reach == inf else fan - 1
        tree_s += steps * link.hop_s
    if operation.kind != "all_reduce":
        gathered: Amount = payload * (ranks - 1) / bandwidth + ring_s
        return gathered
    ring = payload * (2 * (ranks - 1) / ranks) / bandwidth + 2 * ring_s
    tree = payload * 2 / (bandwidth * TREE_SHARE) + 2 * tree_s
    time: Amount = np.minimum(ring, tree)
    return time if isinstance(payload, np.ndarray) else float(time)


def _levels(ranks: int, profile: Profile) -> list[tuple[Link, int, int]]:
    """(link, ranks that are together below it, how many of these groups it joins), for the links that are used."""
    levels, together = [], 1
    for link in links(profile):
        joined = min(ranks, link.reach)
        fan = int(joined) // together
        if fan > 1:
            levels.append((link, together, fan))
            together *= fan
    return levels
