"""Queueing theory, brute force and a real server's report as yardsticks for the metrics."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.metrics import (
    InvariantError,
    Slo,
    check_causality,
    check_littles_law,
    gpu_time,
    itl_statistics,
    saturation,
    summarize,
    timeline,
)
from sim.metrics.series import RowIntegrator, peak, requests_between
from tests.metrics.queues import context, fifo, itl_histogram, mm1, poisson, requests_table, steps_table


def test_report_equals_vllm_bench_on_a_measured_run(shared: Path) -> None:
    run = shared / "traces/llmservingsim/measured_vllm_RTXPRO6000_Llama-3.1-8B/requests.jsonl"
    theirs = json.loads((shared / "traces/formats/report_vllm_bench.DERIVED.json").read_text())
    rows = [json.loads(line) for line in run.read_text().splitlines()]
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    requests = requests_table(
        *(column[name] for name in ("queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts")),
        prompt=column["input_toks"],
        generated=column["output_toks"],
    )
    facts = context(float(column["last_token_ts"].max()), slo=Slo(ttft_s=10.0, tpot_s=0.035))
    none = np.zeros(0, dtype=np.int64)
    ours = summarize(requests, steps_table(0), none, none, facts)
    unknown = {"date", "endpoint_type", "backend", "label", "model_id", "tokenizer_id", "request_rate"}
    unknown |= {"burstiness", "max_concurrency", "rtfx"}  # the client's settings, and a figure for audio
    # the file was derived from the requests' times, and has the most at one instant under vLLM's name
    assert ours["peak_concurrent_requests"] == theirs.pop("max_concurrent_requests") <= ours["max_concurrent_requests"]
    for name in theirs.keys() - unknown:
        assert ours[name] == pytest.approx(theirs[name], rel=1e-9), name


def test_mm1_queue_has_the_latencies_of_theory() -> None:
    tables = mm1(0.7, 200_000, seed=3)
    summary = summarize(tables.requests, tables.steps, tables.bins, tables.counts, tables.context)
    # sojourn time is exponential with mean 1 / (mu - lambda); its p-quantile is -ln(1 - p) times that
    assert summary["mean_e2el_ms"] == pytest.approx(1000 / 0.3, rel=0.04)
    assert summary["p90_e2el_ms"] == pytest.approx(1000 / 0.3 * np.log(10), rel=0.05)
    assert summary["mean_queue_wait_ms"] == pytest.approx(1000 * 0.7 / 0.3, rel=0.05)
    assert summary["queue_depth_mean"] == pytest.approx(0.49 / 0.3, rel=0.06)
    assert 1 - summary["gpu_time"]["fraction"]["starved"] == pytest.approx(0.7, rel=0.01)
    assert summary["littles_law_relative_error"] < 1e-9
    assert not summary["saturated"]


def test_md1_queue_waits_half_as_long() -> None:
    tables = fifo(poisson(0.8, 200_000, seed=5), np.ones(200_000))
    summary = summarize(tables.requests, tables.steps, tables.bins, tables.counts, tables.context)
    assert summary["mean_queue_wait_ms"] == pytest.approx(1000 * 0.8 / (2 * 0.2), rel=0.04)
    assert summary["mean_tpot_ms"] == pytest.approx(90)  # nine tenths of a second in ten steps
    assert summary["p99_itl_ms"] == pytest.approx(90, rel=2e-3)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("load", "verdict"), [(0.5, False), (0.7, False), (1.2, True), (2.0, True)])
def test_saturation_tells_stable_from_overloaded(load: float, verdict: bool, seed: int) -> None:
    tables = mm1(load, 2000, seed)
    judged = saturation(tables.requests, tables.context)
    assert judged.saturated is verdict
    assert bool(judged.reason) is verdict


@pytest.mark.parametrize("seed", range(8))
def test_bursts_that_the_server_works_off_are_not_saturation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bursts = np.sort(rng.uniform(0, 4000, 20))  # 20 bursts of 100 requests for a server at half load
    arrival = np.sort((bursts[:, None] + rng.uniform(0, 5, (20, 100))).ravel())
    tables = fifo(arrival, rng.exponential(1.0, 2000))
    assert not saturation(tables.requests, tables.context).saturated


def test_a_burst_at_the_very_end_is_not_saturation() -> None:
    calm = np.arange(1000) * 2.0
    tables = fifo(np.concatenate([calm, np.full(200, 1999.0)]), np.ones(1200))
    judged = saturation(tables.requests, tables.context)
    assert judged.backlog > 100
    assert not judged.saturated


def test_an_overload_that_was_worked_off_is_not_saturation_at_the_end() -> None:
    arrival = np.concatenate([np.arange(1000) * 0.5, 500 + np.arange(1000) * 3.0])
    tables = fifo(arrival, np.ones(2000))
    assert not saturation(tables.requests, tables.context).saturated


def test_a_warm_up_and_a_pause_do_not_hide_an_overload() -> None:
    """Light load to fill caches, a pause, then more than the server can do."""
    arrival = np.concatenate([np.arange(200) * 2.0, 1000 + np.arange(200) * 0.5])
    tables = fifo(arrival, np.ones(400))
    assert not saturation(tables.requests, tables.context).saturated  # the pause is in the half that is judged
    tables.requests["measured"] = arrival >= 1000
    assert saturation(tables.requests, tables.context).saturated


def test_closed_loops_batches_and_handfuls_are_never_saturated() -> None:
    tables = mm1(2.0, 1000, 1)
    assert not saturation(tables.requests, replace(tables.context, closed_loop=True)).saturated
    at_once = fifo(np.zeros(500), np.ones(500))
    assert not saturation(at_once.requests, at_once.context).saturated
    few = fifo(np.arange(10) * 0.1, np.ones(10))
    assert not saturation(few.requests, few.context).saturated


def test_requests_that_never_started_count_as_waiting() -> None:
    tables = mm1(2.0, 1000, 1)
    late = tables.requests["scheduled_s"] > 500
    for name in ("scheduled_s", "first_token_s", "finish_s"):
        tables.requests[name][late] = np.nan
    tables.requests["status"] = np.where(late, "unfinished", "finished")
    judged = saturation(tables.requests, replace(tables.context, makespan_s=501.0))
    assert judged.saturated
    assert judged.reason.endswith("never cleared)")


def test_inv4_overlapping_rows_are_refused() -> None:
    steps = steps_table(2, start_s=[0, 0.5], end_s=[1, 2], prefill_tokens=1)
    with pytest.raises(InvariantError, match="INV-4: rows of one replica overlap"):
        gpu_time(steps, context(2.0))


def test_inv4_a_wrong_makespan_is_refused() -> None:
    steps = steps_table(1, start_s=0, end_s=3, prefill_tokens=1)
    with pytest.raises(InvariantError, match=r"INV-4: a step of replica 0 ends after 2\.0 s"):
        gpu_time(steps, context(2.0))


def test_inv4_parts_beyond_the_step_are_refused() -> None:
    steps = steps_table(1, start_s=0, end_s=1, prefill_tokens=1, host_s=0.7, comm_s=0.7)
    with pytest.raises(InvariantError, match="INV-4: host, communication, transfer and padding exceed"):
        gpu_time(steps, context(1.0))


def test_inv4_rows_of_a_replica_too_many_are_refused() -> None:
    steps = steps_table(2, replica=[0, 1], start_s=0, end_s=1, prefill_tokens=1)
    with pytest.raises(InvariantError, match="INV-4: rows of a replica beyond the 1 that there are"):
        gpu_time(steps, context(1.0))


def test_inv3_and_littles_law_are_checked() -> None:
    tables = mm1(0.7, 100, 1)
    tables.steps["running"][3] += 5
    with pytest.raises(InvariantError, match="Little's law"):
        check_littles_law(tables.requests, tables.steps, tables.context)
    tables.requests["first_token_s"][7] = tables.requests["arrival_s"][7] - 1
    with pytest.raises(InvariantError, match="INV-3: request 7"):
        check_causality(tables.requests)


def test_recomputed_tokens_take_their_share_of_the_step() -> None:
    # 100 tokens in 1 s, 30 of them for the second time; the second row recomputes its one decode too
    steps = steps_table(2, start_s=[0, 1], end_s=[1, 2], prefill_tokens=[90, 3], decodes=[10, 1],
                        recomputed_tokens=[30, 4])  # fmt: skip
    seconds = gpu_time(steps, context(2.0))
    assert seconds["recomputed"] == pytest.approx(1.3)
    assert seconds["prefill"] == pytest.approx(0.6)
    assert seconds["decode"] == pytest.approx(0.1)


def test_a_run_with_nothing_in_it() -> None:
    none = np.zeros(0, dtype=np.int64)
    never = np.array([np.nan])
    requests = requests_table(np.array([0.5]), never, never, never)
    requests["status"] = np.array(["rejected"])
    summary = summarize(requests, steps_table(0), none, none, context(0.0))
    assert (summary["completed"], summary["failed"]) == (0, 1)
    assert summary["mean_ttft_ms"] is None
    assert summary["gpu_time"]["fraction"]["starved"] is None
    empty = {name: column[:0] for name, column in requests.items()}
    assert timeline(empty, steps_table(0), context(0.0)).empty
    assert summarize(empty, steps_table(0), none, none, context(0.0))["request_throughput"] is None


_gaps = st.lists(st.floats(1e-4, 1e2), min_size=1, max_size=200)


@given(_gaps)
def test_gap_percentiles_are_within_a_bin_of_numpys(gaps: list[float]) -> None:
    exact = np.array(gaps)
    requests = requests_table(*(np.array([0.0]) for _ in range(3)), np.array([exact.sum()]), 1, len(gaps) + 1)
    ours = itl_statistics(*itl_histogram(exact), requests)
    assert ours["mean"] == pytest.approx(float(exact.mean()))
    for percent in (50, 90, 95, 99):
        assert ours[f"p{percent}"] == pytest.approx(float(np.percentile(exact, percent)), rel=1.0e-3)


_spans = st.lists(st.tuples(st.floats(0, 2), st.floats(0.01, 2), st.integers(1, 5)), min_size=1, max_size=20)


@settings(deadline=None)
@given(st.lists(_spans, min_size=1, max_size=3), st.integers(1, 12))
def test_buckets_hold_what_brute_force_finds(replicas: list[list[tuple[float, float, int]]], buckets: int) -> None:
    rows = []
    for replica, spans in enumerate(replicas):
        now = 0.0
        for idle, lasts, steps in spans:
            rows.append((replica, now + idle, now + idle + lasts, steps))
            now += idle + lasts
    replica_, start, end, count = (np.array(column) for column in zip(*rows, strict=True))
    table = steps_table(len(rows), replica=replica_, start_s=start, end_s=end, steps=count, decodes=2, sampled=2)
    edges = np.linspace(0, float(end.max()), buckets + 1)
    overlap = np.minimum(end[:, None], edges[1:]) - np.maximum(start[:, None], edges[:-1])
    busy = np.maximum(overlap, 0).sum(axis=0)
    integrator = RowIntegrator(table, edges)
    np.testing.assert_allclose(integrator.amounts(end - start), busy, atol=1e-9)
    assert integrator.counts(table["sampled"]).sum() == pytest.approx(2 * count.sum())
    seconds = gpu_time(table, context(float(end.max()), replicas=len(replicas)))  # checks INV-4 itself
    assert seconds["decode"] == pytest.approx(float((end - start).sum()))
    inside = requests_between(start, end, edges)
    np.testing.assert_allclose(inside, busy, atol=1e-9)


def test_peak_ignores_rounding_between_two_stamps_of_one_instant() -> None:
    arrive, leave = np.array([0.0, 1.0]), np.array([1.0 + 1e-13, 2.0])
    assert peak((arrive, 1), (leave, -1)) == 1
    assert peak((arrive, 1), (leave + 0.5, -1)) == 2
    assert peak((arrive[:0], 1)) == 0


def test_same_tables_same_bytes() -> None:
    first, second = (mm1(0.7, 500, 9) for _ in range(2))
    texts = [
        json.dumps(summarize(t.requests, t.steps, t.bins, t.counts, t.context), allow_nan=False)
        for t in (first, second)
    ]
    assert texts[0] == texts[1]
