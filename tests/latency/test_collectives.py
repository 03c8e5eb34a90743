"""Collectives over islands, nodes and networks, computed by hand from the datasheet's numbers."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim import hardware
from sim.errors import ProfileError, ScenarioError
from sim.latency import TimerContext
from sim.latency.collectives import collective_s, link_between
from sim.latency.curves import Curves
from sim.latency.profile import Profile as ProfileLatency
from sim.models import load
from sim.models.operations import Operation
from sim.models.shape import BatchShape
from sim.paths import data_dir
from sim.placement import check_group, load_network, network_names, place

H100 = hardware.load("h100-sxm")
"""450 GB/s NVLink, 50 GB/s network and 64 GB/s PCIe per GPU, of which 0.8, 0.94 and 0.8 are sustained;
hops of 2 and 5 us."""


def reduce_(ranks: int, payload: float, kind: str = "all_reduce") -> Operation:
    return Operation(kind, kind, 1, 0, 0, 0, comm_bytes=payload, ranks=ranks)


def test_two_nodes_by_hand() -> None:
    """16 ranks: 8 cards of 47 GB/s carry more than NVLink's 360; NCCL's 28 local and 2 network steps, or its tree."""
    large = 1 << 30
    ring = large * 2 * 15 / 16 / (450e9 * 0.8) + 28 * 2e-6 + 2 * 5e-6
    assert collective_s(reduce_(16, large), H100) == pytest.approx(ring, rel=1e-12)
    small = 1 << 20
    tree = small * 2 / (450e9 * 0.8 * 0.92) + 2 * (7 * 2e-6 + 1 * 5e-6)
    assert collective_s(reduce_(16, small), H100) == pytest.approx(tree, rel=1e-12)
    gathered = 15 * large / (450e9 * 0.8) + 14 * 2e-6 + 1 * 5e-6
    assert collective_s(reduce_(16, large, "all_gather"), H100) == pytest.approx(gathered, rel=1e-12)


def test_four_nodes_take_two_levels_of_a_tree() -> None:
    tree = 1024 * 2 / (450e9 * 0.8 * 0.92) + 2 * (7 * 2e-6 + 2 * 5e-6)
    assert collective_s(reduce_(32, 1024), H100) == pytest.approx(tree, rel=1e-12)


def test_an_island_of_one_is_pcie() -> None:
    """Four GPUs without NVLink: a ring of 64 GB/s x 0.8, six steps of NCCL's 5.7 us."""
    alone = place(H100, gpus_per_island=1)
    large = 64 << 20
    ring = large * 2 * 3 / 4 / (64e9 * 0.8) + 6 * 5.7e-6
    assert collective_s(reduce_(4, large), alone) == pytest.approx(ring, rel=1e-12)


def test_pairs_joined_by_a_bridge() -> None:
    """Islands of two: within a pair nothing changes; four ranks are held up by PCIe, which two use at once."""
    pairs = place(H100, gpus_per_island=2)
    large = 64 << 20
    assert collective_s(reduce_(2, large), pairs) == collective_s(reduce_(2, large), H100)
    ring = large * 2 * 3 / 4 / (2 * 64e9 * 0.8) + 4 * 2e-6 + 2 * 5.7e-6
    assert collective_s(reduce_(4, large), pairs) == pytest.approx(ring, rel=1e-12)


def test_one_card_for_eight_gpus() -> None:
    """100 Gb/s for the whole node: 12.5 GB/s of ring bandwidth."""
    slow = place(H100, network=load_network("ethernet-100g"), nics_per_node=1)
    large = 1 << 30
    ring = large * 2 * 15 / 16 / (12.5e9 * 0.94) + 28 * 2e-6 + 2 * 30e-6
    assert collective_s(reduce_(16, large), slow) == pytest.approx(ring, rel=1e-12)


def test_bus_bandwidth_that_others_measured() -> None:
    """Three nodes of eight A100 with four HDR cards each: 96 GB/s at best (nccl-tests, issue 119), two nodes: 86 GB/s
    (nccl, issue 1048), which was thought too little. Two nodes with one card for the whole node: 24 of 25 GB/s."""
    payload = 4 << 30
    a100 = hardware.load("a100-80g")
    for ranks, cards, lowest, highest in ((24, 4, 86e9, 97e9), (16, 4, 86e9, 97e9), (16, 1, 21.5e9, 24.5e9)):
        seconds = float(collective_s(reduce_(ranks, payload), place(a100, nics_per_node=cards)))
        assert lowest < payload * 2 * (ranks - 1) / ranks / seconds < highest


def test_latency_over_many_nodes_that_others_measured() -> None:
    """32 nodes of eight A100, messages up to 256 bytes: 62 to 71 us (nccl, issue 652)."""
    seconds = float(collective_s(reduce_(256, 256), place(hardware.load("a100-80g"), nics_per_node=4)))
    assert 50e-6 < seconds < 85e-6


def test_arrays_are_numbers_side_by_side() -> None:
    sizes = np.array([1024.0, 1 << 20, 1 << 28])
    together = collective_s(reduce_(16, sizes), H100)  # type: ignore[arg-type]
    assert np.asarray(together).tolist() == [collective_s(reduce_(16, size), H100) for size in sizes.tolist()]


def test_tensor_parallelism_over_nodes_pays_for_the_network() -> None:
    """The same eight GPUs in one node, in two, and in two on 10 Gb/s: ever slower, by the collectives alone."""
    model = load("llama-3.1-70b")
    shape = BatchShape([], 32, 32 * 1000, 32)
    together = ProfileLatency().build(TimerContext(model, H100, 8)).step(shape)
    apart = ProfileLatency().build(TimerContext(model, place(H100, gpus_per_node=4), 8)).step(shape)
    slow = place(H100, gpus_per_node=4, network=load_network("ethernet-10g"), nics_per_node=1)
    apart_slow = ProfileLatency().build(TimerContext(model, slow, 8)).step(shape)
    assert together.comm_s < apart.comm_s < apart_slow.comm_s / 5
    rest = [time.total_s - time.comm_s for time in (together, apart, apart_slow)]
    assert rest[1] == pytest.approx(rest[0]) and rest[2] == pytest.approx(rest[0])


def test_points_measured_in_a_node_say_nothing_of_two(tmp_path: Path) -> None:
    folder = tmp_path / "h100-sxm"
    shutil.copytree(data_dir("hwprofiles") / "h100-sxm", folder)
    (folder / "points.csv").write_text("op,ranks,bytes,time_s\nall_reduce,4,1024,7e-6\nall_reduce,4,1048576,9e-6\n")
    measured = hardware.load(folder)
    message = reduce_(4, np.array([1024.0]))  # type: ignore[arg-type]
    times, outside = Curves(measured).seconds(message)
    assert times.tolist() == [7e-6] and not outside.any()
    times, outside = Curves(place(measured, gpus_per_node=2)).seconds(message)
    assert times[0] > 7e-6 and outside.all()


def test_links_between_gpus() -> None:
    pairs = place(H100, gpus_per_node=4, gpus_per_island=2)
    reaches = [link_between(pairs, 0, other).reach for other in (1, 2, 4)]
    assert reaches == [2, 4, float("inf")]


def test_every_network_is_sourced_and_loads() -> None:
    assert {"infiniband-ndr", "ethernet-100g", "roce-400g"} <= set(network_names())
    for name in network_names():
        assert load_network(name).name == name
    with pytest.raises(ProfileError, match=r"no network 'infiniband-ndx'.*did you mean 'infiniband-ndr'"):
        load_network("infiniband-ndx")


def test_groups_fill_nodes() -> None:
    check_group(H100, 16, "tensor_parallel")
    with pytest.raises(ScenarioError, match=r"tensor_parallel 12 does not fill gpus_per_node 8.*use 8 or 16"):
        check_group(H100, 12, "tensor_parallel")
    with pytest.raises(ScenarioError, match="gpus_per_island 3 does not fill a node of 8"):
        place(H100, gpus_per_island=3)


def test_nothing_said_is_nothing_changed() -> None:
    assert place(H100) is H100
    assert replace(H100) == H100
