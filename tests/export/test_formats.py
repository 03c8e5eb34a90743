"""Files of other tools: `vllm bench serve`'s result, Prometheus text, Parquet for pandas and Polars."""

import json
import math
import re
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sim
from sim.export.gaps import step_ends, token_gaps
from sim.export.perfetto import timeline_events
from sim.export.prometheus import one_two_five, series, snapshot
from sim.export.saved import SavedRun, saved_run
from sim.export.vllm_bench import bench_result
from sim.insight.validation import validate
from sim.workload.measured.read import read_measured
from tests.commands import servecast
from tests.export import results
from tests.export.test_perfetto import check_format

FIELDS = """
date endpoint_type backend label model_id tokenizer_id num_prompts request_rate burstiness max_concurrency duration
completed failed total_input_tokens total_output_tokens request_throughput request_goodput output_throughput
total_token_throughput input_lens output_lens ttfts itls latencies start_times queue_times generated_texts errors
max_output_tokens_per_s max_concurrent_requests rtfx mean_ttft_ms median_ttft_ms std_ttft_ms p99_ttft_ms mean_tpot_ms
median_tpot_ms std_tpot_ms p99_tpot_ms mean_itl_ms median_itl_ms std_itl_ms p99_itl_ms mean_e2el_ms p99_e2el_ms
""".split()  # noqa: SIM905
"""What `vllm bench serve --save-result --save-detailed` writes (vllm/benchmarks/serve.py), in that order."""


VLLM_METRICS = {
    "gauge": "num_requests_running num_requests_waiting kv_cache_usage_perc",
    "counter": """prefix_cache_queries prefix_cache_hits prompt_tokens prompt_tokens_cached generation_tokens
        num_preemptions request_success""",
    "histogram": """time_to_first_token_seconds inter_token_latency_seconds request_time_per_output_token_seconds
        e2e_request_latency_seconds request_queue_time_seconds request_inference_time_seconds
        request_prefill_time_seconds request_decode_time_seconds request_prompt_tokens request_generation_tokens
        request_max_num_generation_tokens request_params_max_tokens request_prefill_kv_computed_tokens
        request_num_preemptions iteration_tokens_total""",
}
_OF_REQUESTS = "0.3 0.5 0.8 1 1.5 2 2.5 5 10 15 20 30 40 50 60 120 240 480 960 1920 7680"
_OF_TOKENS = "0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1 2.5 5 7.5 10 20 40 80"
VLLM_BUCKETS = {
    "time_to_first_token_seconds": """0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10 20 40 80
        160 640 2560""",
    "inter_token_latency_seconds": _OF_TOKENS,
    "request_time_per_output_token_seconds": _OF_TOKENS,
    "e2e_request_latency_seconds": _OF_REQUESTS,
    "request_queue_time_seconds": _OF_REQUESTS,
    "request_decode_time_seconds": _OF_REQUESTS,
    "request_num_preemptions": "1 2 3 4 5 10 20",
    "iteration_tokens_total": "1 8 16 32 64 128 256 512 1024 2048 4096 8192 16384",
}


@pytest.fixture(scope="module")
def run() -> SavedRun:
    return saved_run(results.run())


@pytest.fixture(scope="module")
def hard() -> SavedRun:
    """Little KV memory: requests are preempted, and one prompt is too long."""
    overrides = ["engine.num_gpu_blocks_override=300", "engine.max_model_len=2000", "cluster.replicas=1"]
    return saved_run(sim.run("quickstart", overrides=["workload.trace.csv.limit=200", *overrides]))


def test_the_bench_result_has_vllm_s_fields_in_its_order(run: SavedRun) -> None:
    found, notes = bench_result(run)
    assert [name for name in found if name in FIELDS] == FIELDS
    assert notes == []
    assert {len(value) for value in found.values() if isinstance(value, list)} == {found["num_prompts"]}
    brief, _ = bench_result(run, detailed=False)
    assert {name for name, value in brief.items() if isinstance(value, list)} == {"latencies", "queue_times"}


def tokens_in_the_best_second(found: dict[str, Any]) -> float:
    """vLLM's loop over the successful requests (calculate_metrics of vllm/benchmarks/serve.py)."""
    rows = [row for row, error in enumerate(found["errors"]) if not error]
    begin = min(found["start_times"][row] for row in rows)
    seconds: Counter[int] = Counter()
    for row in rows:
        at_s = found["start_times"][row] + found["ttfts"][row]
        seconds[int(at_s - begin)] += 1
        for gap_s in found["itls"][row]:
            at_s += gap_s
            seconds[int(at_s - begin)] += 1
    return float(max(seconds.values()))


def test_statistics_of_nothing_are_zero_as_in_vllm() -> None:
    one = sim.run("quickstart", overrides=["workload.trace.csv.limit=1", "engine.max_model_len=9"])
    found, _ = bench_result(saved_run(one))
    assert (found["completed"], found["max_output_tokens_per_s"], found["p99_itl_ms"]) == (0, 0.0, 0.0)
    assert found["mean_ttft_ms"] == found["std_e2el_ms"] == 0.0


@pytest.mark.parametrize("preset", ["vllm-v1", "vllm-v0"])  # prompts beside decodes, and before them
def test_gaps_of_preempted_and_cancelled_requests_come_to_the_statistics(preset: str) -> None:
    said = {
        "model": "llama-3.1-8b", "cluster": {"gpu": "h100-sxm"},
        "engine": {"preset": preset, "max_model_len": 2000, "num_gpu_blocks_override": 300},
        "workload": {
            "arrivals": {"poisson": {"rate_per_s": 8}}, "requests": 200, "patience": {"fixed": {"after": "15s"}},
            **{key: {"uniform": {"low": 50, "high": 900}} for key in ("prompt_tokens", "output_tokens")},
        },
    }  # fmt: skip
    hard = saved_run(sim.run(said))
    assert {"finished", "cancelled"} <= set(hard.requests["status"]) and hard.summary["preemptions"]
    found, notes = bench_result(hard)
    gaps = np.concatenate([np.array(one) for one in found["itls"]])
    lost = int((hard.requests["status"] != "finished").sum())
    assert len(notes) == 1 and notes[0].startswith(f"{lost} of 200 requests did not finish")
    assert gaps.mean() * 1e3 == pytest.approx(hard.summary["mean_itl_ms"], rel=2e-3)
    for percent in (50, 90, 99):
        assert np.percentile(gaps, percent) * 1e3 == pytest.approx(hard.summary[f"p{percent}_itl_ms"], rel=0.02)
    theirs = [one for one, error in zip(found["itls"], found["errors"], strict=True) if not error]
    assert np.mean(np.concatenate(theirs)) * 1e3 == pytest.approx(found["mean_itl_ms"], rel=1e-9)
    assert found["max_output_tokens_per_s"] == tokens_in_the_best_second(found)


def test_the_lists_come_to_the_statistics_as_vllm_computes_them(run: SavedRun) -> None:
    found, _ = bench_result(run)
    gaps = np.concatenate([np.array(one) for one in found["itls"]])
    tpots = [
        (e - t) / (n - 1)
        for e, t, n in zip(found["latencies"], found["ttfts"], found["output_lens"], strict=True)
        if n > 1
    ]
    for name, values in (("ttft", found["ttfts"]), ("e2el", found["latencies"]), ("tpot", tpots)):
        assert np.mean(values) * 1e3 == pytest.approx(found[f"mean_{name}_ms"], rel=1e-6)
        assert np.percentile(values, 99) * 1e3 == pytest.approx(found[f"p99_{name}_ms"], rel=1e-6)
    assert gaps.mean() * 1e3 == pytest.approx(found["mean_itl_ms"], rel=1e-6)
    for percent in (50, 90, 99):  # the summary's are those of a histogram, 0.2% wide
        assert np.percentile(gaps, percent) * 1e3 == pytest.approx(found[f"p{percent}_itl_ms"], rel=1e-9)
        assert np.percentile(gaps, percent) * 1e3 == pytest.approx(run.summary[f"p{percent}_itl_ms"], rel=0.02)
    assert found["max_output_tokens_per_s"] == tokens_in_the_best_second(found)
    assert [len(one) for one in found["itls"]] == [n - 1 for n in found["output_lens"]]
    assert sum(found["output_lens"]) == found["total_output_tokens"]


@pytest.mark.parametrize("name", ["run", "hard"])
def test_the_reader_of_real_results_reads_it_back(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    saved: SavedRun = request.getfixturevalue(name)
    found, _ = bench_result(saved)
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(found))
    back = read_measured(path)
    rows = saved.requests
    finished = (rows["status"] == "finished").to_numpy()
    assert back.answered.tolist() == finished.tolist()
    assert back.table.prompt_tokens.tolist() == rows["prompt_tokens"].tolist()
    assert np.allclose(back.ttft_s[finished], rows["ttft_s"][finished], atol=1e-6)
    assert np.allclose(back.e2e_s[finished], rows["e2e_s"][finished], atol=1e-5)
    assert np.allclose(back.table.arrival_s, rows["arrival_s"] - rows["arrival_s"].min(), atol=1e-6)


def test_a_simulation_validates_itself(run: SavedRun, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(bench_result(run)[0]))
    summary = validate("quickstart", path).summary
    for name in ("ttft", "tpot", "e2e"):
        for statistic in ("mean", "p99"):
            assert abs(summary["metrics"][name][statistic]["error"]) < 1e-4


@pytest.mark.parametrize(
    ("arrivals", "told"),
    [
        ({"poisson": {"rate_per_s": 4}}, (4, 1.0, None)),
        ({"gamma": {"rate_per_s": 4, "cv": 2}}, (4, 0.25, None)),  # vLLM's burstiness is the shape, 1 / cv^2
        ("all_at_once", ("inf", None, None)),
        ({"closed_loop": {"users": 3}}, ("inf", None, 3)),
        ({"constant": {"rate_per_s": 2}}, (2, None, None)),
    ],
)
def test_traffic_in_vllm_s_terms(arrivals: object, told: tuple[object, ...]) -> None:
    said = {
        "model": "llama-3.1-8b", "cluster": {"gpu": "h100-sxm"},
        "workload": {
            "arrivals": arrivals, "prompt_tokens": {"fixed": {"tokens": 50}}, "output_tokens": {"fixed": {"tokens": 3}},
            "requests": 6,
        },
    }  # fmt: skip
    found, _ = bench_result(saved_run(sim.run(said)))
    assert (found["request_rate"], found["burstiness"], found["max_concurrency"]) == told


def test_gaps_are_those_of_the_steps_between() -> None:
    """Steps end at 1, 3 and (three in one row) 4, 5, 6, and a prompt's at 7; tokens come 0.25 s later."""
    steps = pd.DataFrame(
        {
            "replica": 0, "start_s": [0.0, 1.0, 3.0, 6.0, 7.0], "end_s": [1.0, 3.0, 6.0, 7.0, 8.0],
            "steps": [1, 1, 3, 1, 1], "decodes": [0, 1, 3, 0, 2],
        }
    )  # fmt: skip
    assert step_ends(steps).tolist() == [1, 3, 4, 5, 6, 7, 8]
    pauses = pd.DataFrame({"request": [2], "start_s": [3.0], "end_s": [6.0]})
    rows = pd.DataFrame(
        {
            "id": [0, 1, 2, 3, 4], "replica": 0, "first_token_s": [1.25, 3.25, 1.25, 1.25, math.nan],
            "finish_s": [8.25, 6.25, 6.25, 5.5, math.nan], "generated_tokens": [6, 3, 3, 4, 0],
            "status": ["finished", "finished", "finished", "cancelled", "rejected"],
        }
    )  # fmt: skip
    gaps, guessed = token_gaps(rows, steps, pauses)
    # the first waits while a prompt is computed; the second's tokens are one too few, nobody knows why: equal gaps;
    # the third was preempted from 3 to 6; the fourth left when its fourth token had just come
    assert [one.tolist() for one in gaps] == [[2, 1, 1, 1, 2], [1.5, 1.5], [2, 3], [1.75, 1, 1], []]
    assert guessed == 1


def test_who_was_preempted_waits(hard: SavedRun) -> None:
    """At any time whoever is in the system runs or waits, but for those whose last token is on its way to them."""
    assert hard.summary["preemptions"]
    _, samples = parsed(series(hard))
    waiting, running = (
        next(dict(found) for (name, _), found in samples.items() if name == f"vllm:num_requests_{state}")
        for state in ("waiting", "running")
    )
    mine = hard.requests[hard.requests["finish_s"].notna()]
    for at_s, count in waiting.items():
        here = int(((mine["arrival_s"] <= at_s) & (mine["finish_s"] > at_s)).sum())
        assert abs(here - count - running[at_s]) <= 1, at_s
    assert max(waiting.values()) > 1


def test_of_a_request_that_is_handed_over_each_replica_tells_its_part() -> None:
    overrides = ["workload.requests=40", "slo.ttft=1s"]
    split = saved_run(sim.run("prefill-decode-split", variant="2 prefill, 2 decode", overrides=overrides))
    found, _ = bench_result(split)
    finished = split.requests[split.requests["status"] == "finished"]
    gaps, guessed = token_gaps(finished, split.steps, split.pauses)
    assert guessed == 0
    assert [one.sum() for one in gaps] == pytest.approx((finished["finish_s"] - finished["first_token_s"]).tolist())
    handed = (finished["decode_scheduled_s"] - finished["first_token_s"]).to_numpy()
    waited = [one[0] > wait for one, wait in zip(gaps, handed, strict=True)]
    assert sum(waited) == len(finished)  # the KV had to come first
    _, samples = parsed(snapshot(split))
    for replica in (0, 1):  # they compute prompts, the others answer
        mine = split.requests["prefill_replica"] == replica
        looked_up = split.requests["prompt_tokens"][mine].sum()
        assert total(samples, "vllm:prompt_tokens_total", f'engine="{replica}"') == looked_up > 0
    events, _ = timeline_events(split)
    check_format(events)
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    paths = defaultdict(set)
    places = defaultdict(set)
    for event in events:
        if event["ph"] in "stf":
            paths[event["id"]].add(names[event["pid"]])
        if event["ph"] == "b":
            places[event["name"]].add(names[event["pid"]])
    first, last = {"replica 0", "replica 1"}, {"replica 2", "replica 3"}
    assert all(len(path) == 2 and path & first and path & last for path in paths.values())
    assert (places["prefill"], places["decode"]) == (first, last)
    assert found["completed"] == len(finished[finished["measured"]])


_SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)+)\} (\S+)(?: (\S+))?')


def parsed(text: str) -> tuple[dict[str, str], dict[tuple[str, str], list[tuple[float, float]]]]:
    """Types by family, and by name and labels the samples: (time, value)."""
    kinds: dict[str, str] = {}
    samples: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            kinds[line.split()[2]] = line.split()[3]
        elif not line.startswith("#"):
            found = _SAMPLE.fullmatch(line)
            assert found, line
            samples[found[1], found[2]].append((float(found[4] or "nan"), float(found[3])))
    return kinds, samples


def total(samples: dict[tuple[str, str], list[tuple[float, float]]], name: str, labels: str = "") -> float:
    return sum(values[-1][1] for (found, told), values in samples.items() if found == name and labels in told)


@pytest.mark.parametrize("name", ["run", "hard"])
def test_counters_and_histograms_are_the_run_s(name: str, request: pytest.FixtureRequest) -> None:
    saved: SavedRun = request.getfixturevalue(name)
    kinds, samples = parsed(snapshot(saved))
    rows, done = saved.requests, saved.requests[saved.requests["status"] == "finished"]
    assert total(samples, "vllm:generation_tokens_total") == rows["generated_tokens"].sum()
    assert total(samples, "vllm:prompt_tokens_total") == rows["prompt_tokens"][rows["first_token_s"].notna()].sum()
    assert total(samples, "vllm:num_preemptions_total") == saved.summary["preemptions"]
    assert total(samples, "vllm:request_success_total", 'finished_reason="stop"') == len(done)
    ttft = "vllm:time_to_first_token_seconds"
    assert total(samples, f"{ttft}_sum") == pytest.approx(rows["ttft_s"].sum())
    assert total(samples, f"{ttft}_bucket", 'le="0.1"') == (rows["ttft_s"] <= 0.1).sum()
    assert total(samples, f"{ttft}_bucket", 'le="+Inf"') == total(samples, f"{ttft}_count") == len(done)
    assert total(samples, "vllm:iteration_tokens_total_count") == saved.summary["engine_steps"]
    given = saved.steps["prefill_tokens"] * saved.steps["steps"]
    assert total(samples, "vllm:iteration_tokens_total_sum") == given.sum() + rows["generated_tokens"].sum()
    assert total(samples, "vllm:request_num_preemptions_sum") == done["preemptions"].sum()
    computed = total(samples, "vllm:request_prefill_kv_computed_tokens_sum")
    assert computed == (done["prompt_tokens"] - done["cached_tokens"]).sum()
    assert total(samples, "vllm:request_params_max_tokens_sum") == done["output_tokens"].sum()
    assert total(samples, "vllm:inter_token_latency_seconds_count") == (done["generated_tokens"] - 1).sum()
    assert total(samples, "vllm:num_requests_running") == total(samples, "vllm:num_requests_waiting") == 0
    assert kinds["vllm:e2e_request_latency_seconds"] == "histogram"


def test_over_time_everything_rises_to_the_end(hard: SavedRun) -> None:
    text = series(hard, epoch_s=1000.0)
    assert text.endswith("# EOF\n")
    kinds, samples = parsed(text)
    _, last = parsed(snapshot(hard))
    assert kinds["vllm:prompt_tokens"] == "counter"  # OpenMetrics names the family without _total
    for (name, labels), points in samples.items():
        times, values = zip(*points, strict=True)
        assert len(times) == len(hard.timeline) and list(times) == sorted(set(times)) and times[0] > 1000
        if kinds.get(name) != "gauge":
            assert list(values) == sorted(values)
            assert values[-1] == pytest.approx(last[name, labels][0][1])
    kv = [value for (name, _), points in samples.items() if name == "vllm:kv_cache_usage_perc" for _, value in points]
    assert 0.9 < max(kv) <= 1.0
    waiting = [v for (name, _), points in samples.items() if name == "vllm:num_requests_waiting" for _, v in points]
    assert max(waiting) > 5 and min(waiting) >= 0


@pytest.mark.parametrize("name", ["run", "hard"])
def test_prometheus_own_parsers_take_both(name: str, request: pytest.FixtureRequest) -> None:
    """Names, kinds, labels and bucket bounds as read from vLLM 0.33.0 (loggers.py, buckets.py)."""
    parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client is not installed")
    open_metrics = pytest.importorskip("prometheus_client.openmetrics.parser")
    saved: SavedRun = request.getfixturevalue(name)
    found = {family.name: family for family in parser.text_string_to_metric_families(snapshot(saved))}
    assert {name: family.type for name, family in found.items()} == {
        f"vllm:{name}": kind for kind, names in VLLM_METRICS.items() for name in names.split()
    }
    for name, family in found.items():
        labels = {frozenset(sample.labels) - {"le"} for sample in family.samples}
        more = {"finished_reason"} if name == "vllm:request_success" else set()
        assert labels == {frozenset({"model_name", "engine"} | more)}
    for name, bounds in VLLM_BUCKETS.items():
        told = {sample.labels["le"] for sample in found[f"vllm:{name}"].samples if "le" in sample.labels}
        assert sorted(map(float, told)) == [*map(float, bounds.split()), math.inf]
    moments = defaultdict(list)  # the parser takes one time at once: it drops a histogram's buckets at the next
    lines = series(saved, epoch_s=1_735_689_600.0).splitlines()
    heads = {line.split()[2]: [] for line in lines if line.startswith("# TYPE")}
    for line in lines[:-1]:
        if line.startswith("#"):
            heads[line.split()[2]].append(line)
            continue
        moments[line.rpartition(" ")[2]].append(line)
    assert len(moments) == len(saved.timeline)
    for samples in moments.values():
        text = []
        for name, head in heads.items():
            text += [*head, *(line for line in samples if re.match(rf"{name}(_total|_bucket|_sum|_count)?{{", line))]
        assert len(text) == len(samples) + 2 * len(heads)
        families = list(open_metrics.text_string_to_metric_families("\n".join([*text, "# EOF", ""])))
        assert {family.name for family in families} == set(found)


def test_a_request_of_one_token_has_no_time_between_tokens_and_is_counted(run: SavedRun) -> None:
    """vLLM observes 0 for it; one that was given up is in no histogram of finished requests."""
    rows = run.requests.assign(generated_tokens=[1, *run.requests["generated_tokens"][1:]])
    rows.loc[0, "tpot_s"] = math.nan
    rows["status"] = ["finished", "cancelled", *["finished"] * (len(rows) - 2)]
    _, samples = parsed(snapshot(replace(run, requests=rows)))
    assert total(samples, "vllm:request_time_per_output_token_seconds_count") == len(rows) - 1
    assert total(samples, "vllm:e2e_request_latency_seconds_count") == len(rows) - 1
    assert total(samples, "vllm:request_success_total", 'finished_reason="abort"') == 1


def test_sizes_go_by_one_two_five() -> None:
    assert one_two_five(100) == [1, 2, 5, 10, 20, 50, 100]  # the example in vLLM's source


def test_tables_are_plain_for_pandas_and_polars(tmp_path: Path) -> None:
    results.run().save(tmp_path)
    for name, frame in (("requests", results.run().requests), ("steps", results.run().steps)):
        path = tmp_path / f"{name}.parquet"
        schema = pq.read_schema(path)
        for field in schema:
            kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            plain = (
                pa.types.is_integer,
                pa.types.is_floating,
                pa.types.is_boolean,
                pa.types.is_string,
                _is_large_string,
            )
            assert any(is_kind(kind) for is_kind in plain), field
        assert schema.metadata is None  # no index that only pandas knows
        back = pd.read_parquet(path)
        pd.testing.assert_frame_equal(back, frame, check_categorical=False, check_dtype=False)


def _is_large_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_large_string(kind))


def test_polars_reads_them(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed: nobody has read the tables with it")
    run = results.run()
    run.save(tmp_path)
    for name, frame in (("requests", run.requests), ("steps", run.steps), ("timeline", run.timeline)):
        found = polars.read_parquet(tmp_path / f"{name}.parquet")
        assert found.columns == list(frame.columns)  # pandas' index is no column
        assert found.height == len(frame)
        for column, kind in found.schema.items():
            mine = frame[column]
            if mine.dtype == "category":
                assert kind.to_python() is str or kind == polars.Categorical
                assert found[column].cast(polars.String).to_list() == mine.tolist()
                continue
            assert kind == {"f": polars.Float64, "b": polars.Boolean, "i": kind}[mine.dtype.kind]
            assert kind.is_integer() == (mine.dtype.kind == "i")
            np.testing.assert_array_equal(found[column].to_numpy(), mine.to_numpy())
    lazy = polars.scan_parquet(tmp_path / "requests.parquet").filter(polars.col("status") == "finished")
    p99 = lazy.select(polars.col("ttft_s").quantile(0.99, "linear")).collect().item()
    assert p99 * 1e3 == pytest.approx(run.summary["p99_ttft_ms"])


def test_the_verb_writes_each_format(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    results.run().save(tmp_path / "out")
    for to, begin in (("vllm-bench", '{"date": null'), ("prometheus", "# HELP vllm:"), ("openmetrics", "# TYPE vllm:")):
        target = tmp_path / to
        assert servecast(monkeypatch, "export", str(tmp_path / "out"), str(target), "--to", to) == 0
        assert target.read_text().startswith(begin)
    assert servecast(monkeypatch, "export", str(tmp_path), str(tmp_path / "x"), "--to", "prometheus") == 2
    assert "holds no results" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
