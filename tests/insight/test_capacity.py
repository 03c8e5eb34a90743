"""Capacity against queueing theory, and what it says where there is none."""

from math import inf
from typing import Any

import pytest

import sim

SERVICE_S = 0.01
MD1: dict[str, Any] = {
    "name": "one server",
    "model": "llama-3.1-8b",
    "workload": {
        "arrivals": {"poisson": {"rate_per_s": 20}},
        "prompt_tokens": {"fixed": {"tokens": 1}},
        "output_tokens": {"fixed": {"tokens": 1}},
        "requests": 6_000,
    },
    "cluster": {"gpu": "h100-sxm"},
    "engine": {
        "max_num_seqs": 1, "async_scheduling": False, "host_request_s": 0, "host_output_s": 0,
    },
    "latency": {"linear": {"base_s": SERVICE_S, "per_prefill_token_s": 0, "per_decode_s": 0}},
}  # fmt: skip


def test_the_capacity_of_an_md1_queue() -> None:
    """Mean wait rho s / (2 (1 - rho)) (Pollaczek-Khinchine): at most 2 s means rho = 4/5, 80 requests a second."""
    (found,) = sim.capacity(MD1, limits=["mean_queue_wait_ms <= 20"], seeds=3, jobs=1)
    assert found.rate_per_s == pytest.approx(80, rel=0.04)
    assert found.rate_per_s < found.failing_rate_per_s <= found.rate_per_s * 1.02
    assert found.binding == "mean_queue_wait_ms <= 20"
    assert found.requests_per_usd == pytest.approx(found.rate_per_s * 3600 / 3.99)
    for trial in found.trials:
        assert (trial.broke == "") == (trial.rate_per_s <= found.rate_per_s)


def test_twice_the_replicas_carry_twice_the_rate() -> None:
    two = {**MD1, "cluster": {"gpu": "h100-sxm", "replicas": 2, "router": "random"}}
    one, both = (
        sim.capacity(scenario, limits=["mean_queue_wait_ms <= 20"], tolerance=0.05, jobs=1)[0]
        for scenario in (MD1, two)
    )
    assert both.rate_per_s == pytest.approx(2 * one.rate_per_s, rel=0.12)
    assert both.per_gpu == both.rate_per_s / 2


def test_no_rate_at_all_and_no_end() -> None:
    (never,) = sim.capacity({**MD1, "slo": {"ttft": "5ms"}}, overrides=["workload.requests=50"], jobs=1)
    assert never.rate_per_s == 0 and never.notes[0] == "even one request alone misses ttft <= 5 ms"
    assert len(never.trials) < 12  # no halving goes on once requests hardly meet
    (always,) = sim.capacity({**MD1, "slo": {"ttft": "10s"}}, overrides=["workload.requests=15"], jobs=1)
    assert always.failing_rate_per_s == inf and "more requests" in always.notes[0]


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({}, {}, "nothing says what must be met"),
        ({}, {"limits": ["p99 < 3"]}, "is not like"),
        ({}, {"limits": ["p99_ttft <= 3"]}, "did you mean 'p99_ttft_ms'"),
        ({}, {"limits": ["p99_ttft_ms <= 3"], "attainment": 1.5}, "--attainment"),
        ({"slo": {"ttft": 1}}, {"overrides": ["workload.arrivals={all_at_once: {}}"]}, "arrive at once"),
        ({"slo": {"ttft": 1}}, {"overrides": ["workload.arrivals={closed_loop: {users: 3}}"]}, "closed loop"),
        ({}, {"overrides": ["workload.load=0"]}, "greater than 0"),
    ],
)
def test_bad_questions(change: dict[str, Any], options: dict[str, Any], words: str) -> None:
    few = {**MD1, "workload": {**MD1["workload"], "requests": 50}}
    with pytest.raises(sim.ServecastError, match=words):
        sim.capacity({**few, **change}, jobs=1, **options)


def test_a_run_shorter_than_its_sessions_is_no_steady_state() -> None:
    """Forty sessions that think for a minute offer hardly any load, however fast they start."""
    chat = {"turns": {"fixed": {"tokens": 3}}, "think_time": {"fixed": {"time": "1min"}}}
    few = {**MD1["workload"], "sessions": 40, "multi_turn": {"chat": chat}}
    del few["requests"]
    (found,) = sim.capacity({**MD1, "workload": few}, limits=["mean_queue_wait_ms <= 20"], tolerance=0.5, jobs=1)
    assert any("too few to be steady" in note for note in found.notes)
