"""Keys that change nothing: told with the run, and true: without them the run is the same."""

from collections.abc import Iterator
from typing import Any

import pytest

import sim
from sim.scenario import load

CHAT: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "workload": {
        "arrivals": {"poisson": {"rate_per_s": 20}}, "prompt_tokens": {"lognormal": {"mean": 300, "p99": 900}},
        "output_tokens": {"lognormal": {"mean": 30, "p99": 90}}, "requests": 60,
    },
    "cluster": {"gpu": "h100-sxm", "replicas": 2},
    "engine": {"max_model_len": 4096},
}  # fmt: skip


def told(*overrides: str) -> tuple[list[str], list[Any]]:
    """The notes about keys, and what became of the requests."""
    result = sim.run(CHAT, overrides=overrides)
    notes = [text for text in result.warnings if "no effect" in text or "does not look at" in text or "users" in text]
    return notes, result.requests["finish_s"].tolist()


@pytest.mark.parametrize(
    ("key", "beside", "words"),
    [
        ("engine.gpu_memory_utilization=0.5", ("engine.num_gpu_blocks_override=3000",), "num_gpu_blocks_override says"),
        ("engine.moe_first_use_s=1s", (), "llama-3.1-8b has no experts"),
        ("engine.uncompiled_launch_s=1ms", (), "without enforce_eager"),
        ("engine.eager_launch_s=1ms", ("engine.enforce_eager=true",), "uncompiled_launch_s"),
        ("cluster.on_crash=fail", (), "no replica crashes"),
        ("cluster.max_requeues=1", (), "no replica crashes"),
        ("cluster.cold_start.time=90s", (), "neither start nor go"),
        ("cluster.overlap_communication=0.5", (), "with tensor_parallel 1 there are no collectives"),
        ("cluster.router_staleness=5s", ("cluster.replicas=1",), "there is one replica"),
        ("cluster.max_gateway_queue=3", (), "neither start nor go"),
        ("workload.retries.max_attempts=5", (), "nobody is turned away"),
        ("workload.priorities={0: 1, 1: 2}", (), "2 priorities, which engine.ordering fcfs does not look at"),
        ("workload.prediction_error=0.5", (), "(fcfs, round_robin)"),
        (
            "workload.arrivals={closed_loop: {users: 8, think: exponential}}",
            ("workload.arrivals={closed_loop: {users: 8}}",),
            "think_s is 0",
        ),
    ],
)
def test_what_changes_nothing_is_said(key: str, beside: tuple[str, ...], words: str) -> None:
    without, before = told(*beside)
    assert not without
    (note,), after = told(*beside, key)
    assert words in note
    assert after == before


@pytest.mark.parametrize(
    "overrides",
    [
        ("workload.priorities={0: 1, 1: 2}", "engine.ordering=priority"),
        ("workload.prediction_error=0.5", "engine.ordering=shortest_job"),
        ("workload.prediction_error=0.5", "cluster.router=least_outstanding_tokens"),
        (
            "cluster.on_crash=fail",
            "cluster.faults=[{crash: {at: 1s, restart_after: 1s}}]",
            "cluster.cold_start.time=1s",
        ),
        ("workload.retries.max_attempts=5", "cluster.admission=[{queue_limit: {waiting: 50}}]"),
        ("engine.gpu_memory_utilization=0.5",),
        ("engine.uncompiled_launch_s=1ms", "engine.enforce_eager=true"),
    ],
)
def test_nothing_is_said_where_it_matters(overrides: tuple[str, ...]) -> None:
    assert told(*overrides)[0] == []


def test_a_loop_of_more_users_than_requests_is_no_loop() -> None:
    (note,), _ = told("workload.arrivals={closed_loop: {users: 1000}}")
    assert note.startswith("closed_loop has 1,000 users for 60 requests")
    assert told("workload.arrivals={closed_loop: {users: 60}}")[0] == []


def test_a_pool_s_key_is_named_with_its_pool() -> None:
    pools = "cluster={replicas: 1, pools: {a: {engine: {uncompiled_launch_s: 1ms}}, b: {}}}"
    assert told(pools)[0] == ["pools.a.engine.uncompiled_launch_s has no effect without enforce_eager"]


def test_the_resolved_scenario_says_the_same() -> None:
    """It has every default written out, which nobody wrote."""

    def runs() -> Iterator[sim.Result]:
        first = sim.run(CHAT, overrides=["cluster.on_crash=fail"])
        yield first
        yield sim.run(load(first.scenario.written()))

    one, two = runs()
    assert one.warnings == two.warnings
