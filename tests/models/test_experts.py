"""The busiest GPU of several with whole experts: counts by hand, theory's expectations, and what steps take."""

from dataclasses import replace

import numpy as np
import pytest

from sim import hardware, models
from sim.errors import ModelError
from sim.expertload import ExpertLoad
from sim.expertload.dirichlet import Dirichlet
from sim.expertload.uniform import Uniform
from sim.expertload.zipf import Zipf
from sim.latency import TimerContext
from sim.latency.profile import Profile
from sim.models.experts import ExpertShards, _busiest
from sim.models.operations import step_operations
from sim.models.shape import BatchShape

MIXTRAL = models.load("mixtral-8x7b")
QWEN = models.load("qwen3-30b-a3b")  # 128 experts, 8 of them per token
H100 = hardware.load("h100-sxm")


def busiest(ranks: int, experts: int, picks: int, size: int, load: ExpertLoad = Uniform()) -> float:  # noqa: B008
    sizes, mean = _busiest(ExpertShards(ranks, load), experts, picks, 16)
    return float(mean[sizes.tolist().index(size)])


def test_all_experts_for_every_token() -> None:
    """Four experts on four GPUs, all picked by each token: nobody is busier than the others."""
    assert busiest(4, 4, 4, 64) == 64


def test_one_pick_is_one() -> None:
    assert busiest(8, 64, 1, 1) == 1


def test_two_picks_of_eight_experts_on_two_gpus() -> None:
    """The second pick falls on the first one's GPU with three of the seven experts left: 1 + 3/7."""
    assert busiest(2, 8, 2, 1) == pytest.approx(1 + 3 / 7, rel=0.01)


@pytest.mark.parametrize(("ranks", "mean_of_largest"), [(4, 1.02938), (8, 1.42360), (16, 1.76599)])
def test_the_largest_of_equal_shares(ranks: int, mean_of_largest: float) -> None:
    """256 tokens, 8 of 128 experts: shares are nearly normal, and negatively correlated as they add up.

    A share has the hypergeometric variance k (1/r) (1 - 1/r) (E - k) / (E - 1) per token; the largest of r independent
    standard normals is known (David, Nagaraja, Order Statistics).
    """
    variance = 256 * 8 / ranks * (1 - 1 / ranks) * (128 - 8) / 127
    expected = 256 * 8 / ranks + mean_of_largest * (variance * ranks / (ranks - 1)) ** 0.5
    assert busiest(ranks, 128, 8, 256) == pytest.approx(expected, rel=0.01)


def test_an_expert_takes_a_token_once() -> None:
    """However popular: of two picks, at most one falls on each expert."""
    assert busiest(8, 8, 2, 1024, Zipf(10.0)) == pytest.approx(1024)


def test_the_less_even_the_busier() -> None:
    loads: list[ExpertLoad] = [Uniform(), Zipf(0.3), Zipf(0.8)]
    shares = [busiest(8, 128, 8, 4096, load) for load in loads]
    assert 4096 < shares[0] < 1.06 * 4096 < shares[1] < shares[2]
    assert busiest(8, 128, 8, 4096, Dirichlet(100.0)) < busiest(8, 128, 8, 4096, Dirichlet(1.0))


def test_counts_between_and_beyond_the_drawn_batches_rise_steadily() -> None:
    picks = ExpertShards(8, Uniform()).busiest_picks(QWEN, np.arange(1, 9000))
    assert (np.diff(picks) >= 0).all()
    assert picks[8191] == pytest.approx(2 * picks[4095], rel=0.02)
    assert picks[0] >= 1


def test_the_work_of_even_experts_is_that_of_cut_ones() -> None:
    """Every expert for every token, so that nothing is left to chance: the same FLOPs per GPU either way."""
    every = replace(QWEN, experts_per_token=128)
    shape = BatchShape([(64, 0)], 0, 0, 1)
    cut, whole = (
        sum(op.flops * op.times for op in step_operations(every, shape, 4, experts=shards) if op.kind == "grouped_gemm")
        for shards in (None, ExpertShards(4, Uniform()))
    )
    assert whole == cut


def test_a_step_waits_for_the_busiest_gpu() -> None:
    """Small batches touch fewer experts when these are whole; skew costs time; the collectives stay as they are."""
    shape = BatchShape([(4096, 0)], 0, 0, 1)
    times = [
        Profile().build(TimerContext(QWEN, H100, 4, experts=shards)).step(shape)
        for shards in (None, *(ExpertShards(4, load) for load in (Uniform(), Zipf(0.5), Zipf(1.0))))
    ]
    assert times[1].total_s < times[2].total_s < times[3].total_s
    assert len({time.comm_s for time in times}) == 1


def test_the_same_seed_draws_the_same() -> None:
    one, same, other = (ExpertShards(8, Zipf(0.5), seed).busiest_picks(QWEN, [100, 1000]) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist() != other.tolist()


def test_what_cannot_be_spread() -> None:
    with pytest.raises(ModelError, match=r"llama-3\.1-8b has no experts"):
        ExpertShards(4, Uniform()).check(models.load("llama-3.1-8b"))
    with pytest.raises(ModelError, match="its 8 experts do not divide among 16 GPUs"):
        ExpertShards(16, Uniform()).check(MIXTRAL)


def test_hidden_communication_is_saved_but_never_more_than_there_is_to_hide_behind() -> None:
    model = models.load("llama-3.1-70b")
    shape = BatchShape([(4096, 0)], 0, 0, 1)
    times = [
        Profile().build(TimerContext(model, H100, 8, overlap_communication=share)).step(shape) for share in (0, 0.5, 1)
    ]
    gathering_s = 1e-4  # of the logits, which nothing hides
    assert times[0].total_s - times[1].total_s == pytest.approx(times[0].comm_s / 2, rel=1e-2)
    assert times[2].comm_s < gathering_s
    assert times[0].total_s - times[2].total_s == pytest.approx(times[0].comm_s - times[2].comm_s)
