"""Replicas of several kinds in one cluster."""

import numpy as np
import pytest

import sim
from sim.cluster.pool import Pool
from sim.cluster.simulate import simulate
from sim.errors import ScenarioError
from sim.latency.linear import Linear
from sim.metrics import gpu_time
from sim.metrics.context import context_of
from sim.routing.least_outstanding import LeastOutstanding
from sim.routing.round_robin import RoundRobin
from tests.cluster.test_fast_forward import content
from tests.serving import ClosedLoop, engine, table

FAST, SLOW = (Linear(base_s=step_s, per_prefill_token_s=0, per_decode_s=0).build() for step_s in (0.5, 2.0))

MIXED = {
    "model": "llama-3.1-8b",
    "workload": {
        "arrivals": {"poisson": {"rate_per_s": 4}}, "requests": 80, "prompt_tokens": {"fixed": {"tokens": 400}},
        "output_tokens": {"fixed": {"tokens": 50}},
    },
    "cluster": {
        "router": "least_outstanding",
        "pools": {
            "big": {"gpu": "h100-sxm", "replicas": 2, "gpu_price_per_hour": 4.0},
            "small": {"gpu": "a100-80g", "engine": {"max_num_seqs": 4}, "gpu_price_per_hour": 1.0},
        },
    },
    "engine": {"max_model_len": 4096},
}  # fmt: skip


def test_two_kinds_take_turns_at_their_own_pace() -> None:
    """Requests of one prompt and three more tokens each: 4 steps of 0.5 s, and of 2 s plus the pool's overhead."""
    pools = [
        Pool(engine, FAST, "fast", gpus_per_replica=2),
        Pool(engine, SLOW, "slow", request_overhead_s=1.0, gpus_per_replica=4),
    ]
    record = simulate(table([0.0, 0.0], 10, 4), pools, router=RoundRobin(), seed=0)
    assert record.requests["finish_s"].tolist() == [2.0, 9.0]
    assert record.requests["replica"].tolist() == [0, 1]
    assert record.lives["end_s"].tolist() == [9.0, 9.0]
    seconds = gpu_time(record.steps, context_of(record))
    assert sum(seconds.values()) == pytest.approx(2 * 9 + 4 * 9)
    assert seconds["starved"] == pytest.approx(2 * 7 + 4 * 1)


def test_the_least_loaded_take_turns_among_equals() -> None:
    """Nobody has anything to do: first each replica in order, then the one that was chosen longest ago."""
    arrival = np.arange(7) * 10.0
    record = simulate(table(arrival, 10, 2), [Pool(engine, FAST, replicas=3)], router=LeastOutstanding(), seed=0)
    assert record.requests["replica"].tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_a_mixed_cluster_from_a_scenario() -> None:
    result = sim.run(MIXED)
    said = result.scenario.cluster.pools
    assert (said["big"].engine.max_num_seqs, said["small"].engine.max_num_seqs) == (1024, 4)
    assert result.record.pools == ("big", "small")
    assert result.record.replicas["pool"].tolist() == [0, 0, 1]
    assert result.steps.query("replica == 2")["running"].max() <= 4
    hours = result.summary["makespan_s"] / 3600
    assert result.summary["gpu_hours"] == pytest.approx(3 * hours)
    assert result.summary["cost_usd"] == pytest.approx((2 * 4.0 + 1.0) * hours)
    again = sim.run(result.scenario)
    assert again.summary == result.summary
    assert again.scenario == result.scenario


def test_one_pool_alone_is_the_plain_cluster() -> None:
    flat = {**MIXED, "cluster": {"gpu": "h100-sxm", "replicas": 2}}
    pooled = {**MIXED, "cluster": {"gpu": "h100-sxm", "pools": {"all": {"replicas": 2}}}}
    one, other = sim.run(flat), sim.run(pooled)
    assert one.requests.equals(other.requests)
    assert one.summary["gpu_time"] == other.summary["gpu_time"]


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"pools": {"a": {"replicas": 2}}}, "cluster: pools.a.gpu is missing"),
        ({}, "cluster: gpu is missing"),
        ({"gpu": "h100-sxm", "replicas": 2, "pools": {"a": {}}}, "give each pool its own"),
        ({"gpu": "h100-sxm", "pools": {"a": {"replica": 2}}}, "cluster.pools.a.replica is not a known key.*'replicas'"),
        ({"gpu": "h100-sxm", "pools": {"a": {"engine": {"max_num_seq": 2}}}}, "did you mean 'max_num_seqs'"),
    ],
)  # fmt: skip
def test_mistakes_are_answered(cluster: dict, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        sim.load({**MIXED, "cluster": cluster})


def test_a_pool_that_cannot_be_is_named() -> None:
    pools = {"a": {}, "b": {"tensor_parallel": 3}}
    with pytest.raises(sim.ServecastError, match=r"pool b, cluster\.tensor_parallel"):
        sim.run({**MIXED, "cluster": {"gpu": "h100-sxm", "pools": pools}})


def test_a_variant_changes_one_pool() -> None:
    variants = {"more": {"cluster": {"pools": {"small": {"replicas": 5}}}}}
    pools = sim.load({**MIXED, "variants": variants}).variant("more").cluster.pools
    assert (pools["small"].replicas, pools["small"].engine.max_num_seqs, pools["big"].replicas) == (5, 4, 2)


TWO_MODELS = {
    **MIXED,
    "workload": {**MIXED["workload"], "tenants": {"chat": 3, "coding": 1}},
    "tenants": {
        "chat": {"priority": 1, "slo": {"ttft": "2s"}},
        "coding": {"model": "qwen3-32b", "slo": {"ttft": "1ms"}},
    },
    "cluster": {
        "gpu": "h100-sxm",
        "router": "least_outstanding",
        "pools": {"small": {"replicas": 2}, "large": {"model": "qwen3-32b", "tensor_parallel": 2}},
    },
    "slo": {"e2el": "1000s"},
}


def test_tenants_have_their_models_priorities_and_targets() -> None:
    result = sim.run(TWO_MODELS)
    requests, summary = result.requests, result.summary
    chat, coding = (requests[requests["tenant"] == name] for name in ("chat", "coding"))
    assert len(chat) > 2 * len(coding) > 0
    assert set(chat["replica"]) == {0, 1}
    assert set(coding["replica"]) == {2}
    assert set(chat["priority"]) == {1}
    assert set(coding["priority"]) == {0}
    shares = summary["by_tenant"]
    assert (shares["chat"]["slo_attainment"], shares["coding"]["slo_attainment"]) == (1.0, 0.0)
    assert summary["slo_attainment"]["all"] == pytest.approx(len(chat) / len(requests))
    pools = summary["by_pool"]
    assert pools["small"]["requests"] == len(chat)
    assert (pools["small"]["gpus"], pools["large"]["gpus"]) == (2, 2)
    assert sum(pool["cost_usd"] for pool in pools.values()) == pytest.approx(summary["cost_usd"])
    for name, seconds in summary["gpu_time"]["seconds"].items():
        told = sum(pool["gpu_time"]["fraction"][name] * pool["gpu_time"]["total_s"] for pool in pools.values())
        assert told == pytest.approx(seconds, abs=1e-9)
    assert sim.run(result.scenario).summary == summary


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tenants": {"chta": {"priority": 1}}}, "tenants.chta: .*did you mean 'chat'"),
        ({"tenants": {"chat": {"model": "qwen3-8b"}}}, r"tenants\.chat\.model: no pool serves qwen3-8b"),
        ({"cluster": {"gpu": "h100-sxm", "pools": {"a": {"model": "qwen3-8b"}}}}, "no pool serves"),
    ],
)
def test_a_tenant_whom_nobody_serves_is_named(change: dict, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        sim.run({**TWO_MODELS, **change})


@pytest.mark.parametrize("seed", range(5))
def test_users_of_pools_with_other_overheads_see_the_same_on_both_paths(seed: int) -> None:
    """All times lie on one grid, so that requests reach the second pool when steps end there, and come after these."""
    rng, step_s = np.random.default_rng(seed), 1 / 64
    timer = Linear(base_s=step_s, per_prefill_token_s=0, per_decode_s=0).build()
    pools = [Pool(engine, timer, name, request_overhead_s=after_s) for name, after_s in (("a", 0.0), ("b", 2 * step_s))]
    loop = ClosedLoop(4, rng.integers(0, 4, 40) * step_s)
    rows = table(np.zeros(40), rng.integers(1, 20, 40), rng.integers(1, 30, 40), closed_loop=loop)
    fast, plain = (
        simulate(rows, pools, router=RoundRobin(), seed=0, fast_forward=fast_forward) for fast_forward in (True, False)
    )
    assert content(fast) == content(plain)
