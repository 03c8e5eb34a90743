"""Exchanging tokens and sharing experts, against a published table and by hand."""

from dataclasses import replace

import pytest

from sim import hardware, models
from sim.alltoall.allgather_reducescatter import AllgatherReducescatter
from sim.alltoall.deepep_high_throughput import DeepepHighThroughput
from sim.alltoall.deepep_low_latency import DeepepLowLatency, one_way_s
from sim.expertload.uniform import Uniform
from sim.latency import EngineTiming, TimerContext
from sim.latency.handover import Exchange
from sim.latency.profile import Profile
from sim.latency.ranks import RanksTimer
from sim.models.experts import ExpertShards
from sim.models.shape import BatchShape

H100 = hardware.load("h100-sxm")
H800 = replace(H100, intra_node_bandwidth_bytes_per_s=200e9)
"""The same with 400 GB/s of NVLink both ways: 160 of 200 sustained, as DeepEP's authors say."""

QWEN = models.load("qwen3-30b-a3b")


def deepseek(ranks: int, profile: hardware.Profile = H800) -> Exchange:
    return Exchange(profile, 7168, 8, ranks, 1 + 4 / 128, 2)


@pytest.mark.parametrize(
    ("ranks", "dispatch_us", "combine_us"),
    [(8, 77, 114), (16, 118, 195), (32, 155, 273), (64, 173, 314), (128, 192, 369), (256, 194, 360)],
)
def test_deepeps_table_of_low_latency_kernels(ranks: int, dispatch_us: float, combine_us: float) -> None:
    """128 tokens, 7168 hidden, top 8, FP8 there and bf16 back, H800 with 400 Gb/s each (DeepEP, docs/legacy.md)."""
    exchange = deepseek(ranks)
    assert one_way_s(exchange, 128, exchange.dispatch_bytes) == pytest.approx(dispatch_us * 1e-6, rel=0.12)
    assert one_way_s(exchange, 128, exchange.combine_bytes) == pytest.approx(combine_us * 1e-6, rel=0.12)


def test_the_default_backend_is_two_rings() -> None:
    """16 ranks in two nodes, 1600 tokens of 7168 bf16: 15/16 of them at NVLink's 360 GB/s, and 14 + 1 hops, twice."""
    whole = 1600 * 7168 * 2
    ring = whole * 15 / 16 / (450e9 * 0.8) + 14 * 2e-6 + 5e-6 + H100.kernel_latency_s
    assert AllgatherReducescatter().seconds(deepseek(16, H100), 1600, 100) == pytest.approx(2 * ring)


def test_once_for_each_node_beats_once_for_each_pick() -> None:
    """4096 tokens over two nodes: eight picks are four copies over the network one way, or about one at most."""
    straight = DeepepLowLatency().seconds(deepseek(16), 65536, 4096)
    merged = DeepepHighThroughput().seconds(deepseek(16), 65536, 4096)
    assert merged < straight / 2
    # Both nodes get nearly every token: (1 - 2^-8) of them cross once, at 47 GB/s; NVLink carries 9.4 times as much.
    sizes = 4096 * 7168 * (3 + 4 / 128)
    over_nvlink = 16 * (1 - (15 / 16) ** 8) * 15 / 16
    expected = max((1 - 2**-8) / 47e9, over_nvlink / 160e9) * sizes
    assert merged == pytest.approx(70e-6 + expected)


def timer(ranks: int = 4, timing: EngineTiming = EngineTiming(0.0, 0.0, 0.0, True)) -> RanksTimer:  # noqa: B008
    context = TimerContext(
        QWEN, H100, max_num_batched_tokens=2048, timing=timing, experts=ExpertShards(ranks, Uniform())
    )
    apart = replace(context, experts=ExpertShards(ranks, Uniform(), apart=True), timing=EngineTiming(0, 0, 0, True))
    return RanksTimer(Profile().build(apart), context, ranks, AllgatherReducescatter())


def test_everybody_waits_for_the_rank_with_the_most_to_do() -> None:
    small, large = BatchShape([], 4, 4000, 4), BatchShape([(2000, 0)], 0, 0, 1)
    times = timer().together([small, large, None, small])
    assert len({time.total_s for time in times}) == 1
    assert times[0].comm_s - times[1].comm_s > 1e-4  # the wait for the prefill, inside the exchange
    alone = timer().together([small, None, None, None])[0]
    assert alone.total_s < times[0].total_s


def test_the_hosts_work_hides_or_not() -> None:
    shape = BatchShape([], 4, 4000, 4)
    gpu_s = timer().step(shape).total_s
    behind = timer(timing=EngineTiming(gpu_s / 2, 0.0, 1e-4, True)).step(shape)
    before = timer(timing=EngineTiming(gpu_s / 2, 0.0, 1e-4, False)).step(shape)
    longer = timer(timing=EngineTiming(gpu_s * 2, 0.0, 1e-4, True)).step(shape)
    assert behind.total_s == pytest.approx(gpu_s + 1e-4)
    assert before.total_s == pytest.approx(1.5 * gpu_s + 1e-4)
    assert longer.total_s == pytest.approx(2 * gpu_s + 1e-4)
    assert longer.host_s - behind.host_s == pytest.approx(gpu_s)


def test_a_rank_holds_its_share_of_the_experts() -> None:
    """Of Qwen3-30B-A3B's 30.5e9 parameters 128 experts x 3 x 2048 x 768 x 48 layers are experts'."""
    experts = 128 * 3 * 2048 * 768 * 48 * 2
    whole, part = QWEN.weight_bytes(), replace(QWEN, experts_spread=8).weight_bytes()
    assert whole - part == experts * 7 // 8
