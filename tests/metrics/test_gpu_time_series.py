"""GPU time over time: whole at every moment, and over all of them what the summary says."""

import pytest

import sim
from sim.metrics.gpu_time import BUCKETS

_SMALL = ["workload.trace.csv.limit=150"]


@pytest.mark.parametrize(
    ("scenario", "overrides", "bucket"),
    [
        ("quickstart", _SMALL, "starved"),
        (
            "quickstart",
            [*_SMALL, "engine.batching={dynamic_window: {max_queue_delay: 50ms}}", "engine.max_num_seqs=8"],
            "window",
        ),
        ("quickstart", [*_SMALL, "cluster.pipeline_parallel=2", "cluster.tensor_parallel=2"], "bubble"),
        ("quickstart", [*_SMALL, "engine.num_gpu_blocks_override=300", "engine.max_model_len=2000"], "recomputed"),
        ("node-dies", ["workload.requests=4000"], "loading"),
        ("prefill-decode-split", ["workload.requests=60", "slo.ttft=1s"], "transfer"),
    ],
)
def test_it_comes_to_the_summary_s(scenario: str, overrides: list[str], bucket: str) -> None:
    variant = "2 prefill, 2 decode" if scenario == "prefill-decode-split" else None
    result = sim.run(scenario, overrides=overrides, variant=variant)
    timeline, seconds = result.timeline, result.summary["gpu_time"]["seconds"]
    assert seconds[bucket] > 0
    for name in BUCKETS:
        spent = float((timeline[f"gpus_{name}"] * timeline["width_s"]).sum())
        assert spent == pytest.approx(seconds[name], rel=0.01 if name == "bubble" else 1e-6, abs=1e-6), name


def test_the_gpus_that_are_held_at_every_moment() -> None:
    timeline = sim.run("quickstart", overrides=_SMALL).timeline
    held = sum(timeline[f"gpus_{name}"] for name in BUCKETS)
    assert held.to_numpy() == pytest.approx(2.0)
