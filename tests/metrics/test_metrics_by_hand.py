"""Three requests worked out by hand: every figure of the summary that can be."""

import math
from dataclasses import replace

import numpy as np
import pytest

from sim.metrics import RunContext, Slo, check_littles_law, gpu_time, littles_law, summarize, timeline
from sim.metrics.context import uniform
from tests.metrics.queues import Tables, context, itl_histogram, requests_table, steps_table


@pytest.fixture
def three() -> Tables:
    """One replica of two GPUs.

    0-1 s prefill of request 0 (100 tokens); 1-2 s prefill of request 1 (50) with a decode of 0;
    2-2.5 s decode of 0; idle to 4; 4-4.5 s prefill of request 2 (10); 4.5-5.5 s two decode steps of 2.
    """
    requests = requests_table(
        arrival=np.array([0.0, 0.5, 4.0]),
        scheduled=np.array([0.0, 1.0, 4.0]),
        first=np.array([1.0, 2.0, 4.5]),
        finish=np.array([2.5, 2.0, 5.5]),
        prompt=np.array([100, 50, 10]),
        generated=np.array([3, 1, 3]),
    )
    requests["cached_tokens"][1] = 32
    steps = steps_table(
        5,
        start_s=[0.0, 1.0, 2.0, 4.0, 4.5],
        end_s=[1.0, 2.0, 2.5, 4.5, 5.5],
        steps=[1, 1, 1, 1, 2],
        prefills=[1, 1, 0, 1, 0],
        prefill_tokens=[100, 50, 0, 10, 0],
        decodes=[0, 1, 1, 0, 1],
        sampled=[1, 2, 1, 1, 1],
        running=[1, 2, 1, 1, 1],
        kv_used_blocks=[7, 11, 7, 1, 1],
        kv_tokens=[100, 151, 102, 10, 12],
        host_s=[0.1, 0.1, 0.05, 0.1, 0.05],
        comm_s=[0.2, 0.2, 0.1, 0.2, 0.1],
        padding_s=[0.0, 0.0, 0.05, 0.0, 0.05],
        extrapolated=[True, False, False, False, False],
    )
    facts = context(
        5.5,
        gpus=2,
        kv_blocks=20,
        slo=Slo(ttft_s=1.2, tpot_s=0.6),
        price_usd_per_gpu_hour=3.6,
        peak_flops=100.0,
        step_flops=np.array([100.0, 100.0, 50.0, 50.0, 100.0]),
        peak_bytes_per_s=200.0,
        step_bytes=np.array([80.0, 80.0, 40.0, 40.0, 80.0]),
    )
    return Tables(requests, steps, *itl_histogram(np.array([1.0, 0.5, 0.5, 0.5])), facts)


@pytest.fixture
def summary(three: Tables) -> dict:
    return summarize(three.requests, three.steps, three.bins, three.counts, three.context)


def test_latencies(summary: dict) -> None:
    # TTFT 1, 1.5, 0.5 s; TPOT 1.5/2 and 1/2 s; E2E 2.5, 1.5, 1.5 s; waits 0, 0.5, 0 s
    expected = {
        "mean_ttft_ms": 1000, "median_ttft_ms": 1000, "std_ttft_ms": 1000 * math.sqrt(1 / 6),
        "p90_ttft_ms": 1400, "p95_ttft_ms": 1450, "p99_ttft_ms": 1490,
        "mean_tpot_ms": 625, "p50_tpot_ms": 625, "std_tpot_ms": 125, "p99_tpot_ms": 747.5,
        "mean_e2el_ms": 5500 / 3, "median_e2el_ms": 1500, "p90_e2el_ms": 2300,
        "mean_queue_wait_ms": 500 / 3, "p99_queue_wait_ms": 490, "mean_itl_ms": 625,
        "mean_normalized_latency_ms": (2500 / 3 + 1500 + 500) / 3, "median_normalized_latency_ms": 2500 / 3,
    }  # fmt: skip
    for name, value in expected.items():
        assert summary[name] == pytest.approx(value, rel=1e-12), name


def test_gaps_come_from_the_histogram(summary: dict) -> None:
    # gaps 0.5, 0.5, 0.5, 1: position 0.99 * 3 = 2.97 lies 97% of the way from 0.5 to 1
    assert summary["median_itl_ms"] == pytest.approx(500, rel=2e-3)
    assert summary["p99_itl_ms"] == pytest.approx(985, rel=2e-3)
    assert summary["std_itl_ms"] == pytest.approx(1000 * math.sqrt(3 / 64), rel=4e-3)


def test_throughput_and_goodput(summary: dict) -> None:
    assert summary["duration"] == 5.5
    assert (summary["completed"], summary["failed"]) == (3, 0)
    assert (summary["total_input_tokens"], summary["total_output_tokens"]) == (160, 7)
    assert summary["request_throughput"] == pytest.approx(3 / 5.5)
    assert summary["output_throughput"] == pytest.approx(7 / 5.5)
    assert summary["total_token_throughput"] == pytest.approx(167 / 5.5)
    assert summary["max_concurrent_requests"] == 2
    assert summary["peak_concurrent_requests"] == 2
    assert summary["max_output_tokens_per_s"] == 2  # at 2 s two requests, or at 4.5 and 5 s one
    # only request 2 meets both; the one-token request 1 has TPOT 0 but TTFT 1.5 s
    assert summary["slo_attainment"] == pytest.approx({"ttft": 2 / 3, "tpot": 2 / 3, "all": 1 / 3})
    assert summary["request_goodput"] == pytest.approx(1 / 5.5)


def test_who_is_given_up_late_makes_the_run_as_long(three: Tables) -> None:
    """vLLM's benchmark lasts until every request has returned, whatever became of it."""
    ended = three.requests | {"finish_s": np.array([2.5, 2.0, 8.0])}
    ended["status"] = np.array(["finished", "finished", "cancelled"])
    facts = replace(three.context, makespan_s=8.0)
    found = summarize(ended, three.steps, three.bins, three.counts, facts)
    assert (found["duration"], found["completed"], found["failed"]) == (8.0, 2, 1)
    assert found["request_throughput"] == pytest.approx(2 / 8)
    # its gaps count with the others': 1, 0.5, 0.5, 0.5
    assert found["mean_itl_ms"] == pytest.approx(625, rel=2e-3)
    nobody = ended | {"status": np.array(["cancelled"] * 3)}
    found = summarize(nobody, three.steps, three.bins, three.counts, facts)
    assert (found["duration"], found["request_throughput"]) == (8.0, 0.0)


def test_requests_that_touch_a_second_need_not_meet() -> None:
    """vLLM's count: three that follow each other within one second, the fourth in the next."""
    begin = np.array([0.1, 0.4, 0.7, 1.2])
    requests = requests_table(begin, begin, begin + 0.1, begin + 0.2)
    none = np.zeros(0, dtype=np.int64)
    found = summarize(requests, steps_table(0), none, none, context(2.0))
    assert (found["max_concurrent_requests"], found["peak_concurrent_requests"]) == (3, 1)


def test_gpu_time(three: Tables) -> None:
    # busy 4 s of 5.5; work 0.7 + 0.7 (50 of 51 tokens prefill) + 0.3 + 0.2 + 0.6; times two GPUs
    assert gpu_time(three.steps, three.context) == pytest.approx(
        {
            "prefill": 2 * (0.7 + 0.7 * 50 / 51 + 0.2),
            "decode": 2 * (0.7 / 51 + 0.3 + 0.6),
            "recomputed": 0.0,
            "padding": 2 * 0.15,
            "communication": 2 * 0.9,
            "window": 0.0,
            "transfer": 0.0,
            "bubble": 0.0,
            "host": 2 * 0.45,
            "starved": 2 * 1.5,
            "loading": 0.0,
            "down": 0.0,
        }
    )


def test_engine_load(summary: dict) -> None:
    assert summary["engine_steps"] == 6
    assert summary["tokens_per_step_mean"] == pytest.approx(164 / 6)
    assert summary["batch_size_mean"] == pytest.approx(5 / 4)  # (1 + 2 + 0.5 + 0.5 + 1) / 4 busy seconds
    assert summary["batch_size_peak"] == 2
    assert summary["queue_depth_mean"] == pytest.approx(0.5 / 5.5)
    assert summary["queue_depth_peak"] == 1
    # the last row's request held 1/16 block less at its first step: 1/32 on average
    assert summary["kv_occupancy_mean"] == pytest.approx((7 + 11 + 3.5 + 0.5 + (1 - 1 / 32)) / (4 * 20))
    assert summary["kv_occupancy_peak"] == pytest.approx(11 / 20)
    # 11 and then 12 tokens in the last row, in the room of those blocks
    tokens, room = 100 + 151 + 51 + 5 + 11.5, 16 * (7 + 11 + 3.5 + 0.5 + (1 - 1 / 32))
    assert summary["kv_unused_share"] == pytest.approx(1 - tokens / room)
    assert summary["prefix_cache_hit_rate"] == pytest.approx(32 / 160)
    assert summary["extrapolated_time_fraction"] == pytest.approx(1 / 4)


def test_utilisation_and_cost(summary: dict) -> None:
    assert summary["mfu_busy"] == pytest.approx(400 / 100 / 8)
    assert summary["mfu_makespan"] == pytest.approx(400 / 100 / 11)
    assert summary["mbu_busy"] == pytest.approx(320 / 200 / 8)
    assert summary["mbu_makespan"] == pytest.approx(320 / 200 / 11)
    assert summary["gpu_hours"] == pytest.approx(11 / 3600)
    assert summary["usd_per_million_output_tokens"] == pytest.approx(0.011 / 7e-6)
    assert summary["usd_per_1k_requests"] == pytest.approx(0.011 / 3e-3)


def test_littles_law(three: Tables) -> None:
    law = littles_law(three.requests, three.steps, three.context)
    assert law is not None
    assert law.mean_in_system == pytest.approx(1.0)  # seated 5 request-seconds, waiting 0.5, over 5.5 s
    assert law.throughput_times_e2e == pytest.approx(1.0)
    check_littles_law(three.requests, three.steps, three.context)


def test_timeline(three: Tables) -> None:
    frame = timeline(three.requests, three.steps, three.context)
    assert len(frame) == 20  # three requests fill no more
    width = frame["width_s"].to_numpy()
    at = frame.set_index(np.round(frame["time_s"] / width[0]).astype(int))  # bucket k starts at k * 5.5 / 20
    assert at.loc[2, "queue_depth"] == pytest.approx(1.0)  # 0.55-0.825 s: request 1 waits
    assert at.loc[5, "running"] == pytest.approx(2.0)  # 1.375-1.65 s
    assert at.loc[5, "kv_used_fraction"] == pytest.approx(11 / 20)
    assert at.loc[10, "gpu_busy_fraction"] == 0.0  # 2.75 s: idle
    assert at.loc[10, "gpus_starved"] == pytest.approx(2.0)  # both GPUs
    assert at.loc[0, "ttft_p50_s"] == 1.0
    assert math.isnan(at.loc[2, "ttft_p50_s"])
    for column, whole in {"arrivals_per_s": 3, "output_tokens_per_s": 7, "prefill_tokens_per_s": 160,
                          "queue_depth": 0.5, "running": 5, "gpu_busy_fraction": 4,
                          "gpus_prefill": 2 * (0.9 + 0.7 * 50 / 51), "gpus_starved": 3.0}.items():  # fmt: skip
        assert float((frame[column] * width).sum()) == pytest.approx(whole), column


def test_without_slo_price_and_peaks_the_figures_are_none(three: Tables) -> None:
    bare = RunContext(**uniform(1, 5.5, gpus=2, kv_blocks=20, block_size=16))
    summary = summarize(three.requests, three.steps, three.bins, three.counts, bare)
    for name in ("request_goodput", "slo", "slo_attainment", "mfu_busy", "mbu_makespan", "cost_usd"):
        assert summary[name] is None, name


def test_only_measured_requests_count_in_latencies(three: Tables) -> None:
    three.requests["measured"][0] = False
    bins, counts = itl_histogram(np.array([0.5, 0.5]))
    summary = summarize(three.requests, three.steps, bins, counts, three.context)
    assert (summary["num_prompts"], summary["completed"], summary["total_output_tokens"]) == (2, 2, 4)
    assert summary["duration"] == 5.0  # from the arrival of request 1
    assert summary["mean_ttft_ms"] == pytest.approx(1000)
    assert summary["slo_attainment"]["all"] == 0.5
    ended = {"finished": 3, "rejected": 0, "unfinished": 0, "cancelled": 0, "timed_out": 0, "failed": 0, "refused": 0}
    assert summary["requests"] == {"total": 3} | ended
