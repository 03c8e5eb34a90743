"""Files of measurements in every form, with latencies worked out by hand."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from sim.errors import TraceError
from sim.workload.measured.read import read_measured

CSV = """index,stage,arrival_us,prompt_id,input_tokens,output_tokens,client_output_tokens,failed,ttft_us,e2e_us
1,0,2500000,8,64,11,99,0,30000,130000
0,0,1000000,7,32,5,99,0,20000,60000
2,1,4000000,7,32,3,99,1,,
"""


def written(folder: Path, text: str, name: str = "run.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_is_sorted_and_starts_at_zero(tmp_path: Path) -> None:
    run = read_measured(written(tmp_path, CSV))
    assert run.table.arrival_s.tolist() == [0.0, 1.5, 3.0]
    assert run.table.prompt_tokens.tolist() == [32, 64, 32]
    assert run.table.output_tokens.tolist() == [5, 11, 3]
    assert run.answered.tolist() == [True, True, False]
    assert run.ttft_s[:2].tolist() == [0.02, 0.03] and np.isnan(run.ttft_s[2])
    assert run.tpot_s[:2] == pytest.approx([0.01, 0.01])  # 40 ms / 4 gaps, 100 ms / 10 gaps
    assert run.stage == ["0", "0", "1"]
    segments = run.table.segments
    assert segments is not None and segments[0] == segments[2] != segments[1]


def test_gzip_and_other_names(tmp_path: Path) -> None:
    text = "arrivalTime (s),Prompt Tokens,completion_tokens,TTFT (ms),latency_s\n5,10,3,40,0.5\n6,20,1,30,0.03\n"
    path = tmp_path / "run.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    run = read_measured(path)
    assert run.table.arrival_s.tolist() == [0.0, 1.0]
    assert run.ttft_s.tolist() == [0.04, 0.03] and run.e2e_s.tolist() == [0.5, 0.03]
    assert run.tpot_s[0] == pytest.approx(0.23) and np.isnan(run.tpot_s[1])
    assert run.stage is None and run.table.segments is None


def test_json_lines_with_time_stamps_of_another_clock(tmp_path: Path) -> None:
    rows = [
        {"input_toks": 9, "output_toks": 3, "arrival_time": 1e9, "queued_ts": 50.0, "first_token_ts": 50.2,
         "last_token_ts": 50.4},
        {"input_toks": 8, "output_toks": 2, "arrival_time": 1e9 + 1, "queued_ts": 51.5, "first_token_ts": 51.75,
         "last_token_ts": 52.0},
    ]  # fmt: skip
    run = read_measured(written(tmp_path, "\n".join(map(json.dumps, rows)), "run.jsonl"))
    assert run.ttft_s == pytest.approx([0.2, 0.75])  # the second waited half a second before it queued
    assert run.e2e_s == pytest.approx([0.4, 1.0])


def test_bench_result(tmp_path: Path) -> None:
    result = {
        "input_lens": [5, 6, 7],
        "output_lens": [3, 1, 0],
        "ttfts": [0.1, 0.2, 0.0],
        "itls": [[0.01, 0.03], [], []],
        "start_times": [100.0, 100.5, 101.0],
        "errors": ["", "", "boom"],
    }
    run = read_measured(written(tmp_path, json.dumps(result), "bench.json"))
    assert run.e2e_s[:2] == pytest.approx([0.14, 0.2])
    assert run.answered.tolist() == [True, True, False]
    assert run.itl_s is not None and np.concatenate(run.itl_s).tolist() == [0.01, 0.03]


def test_tpot_in_place_of_e2e(tmp_path: Path) -> None:
    run = read_measured(written(tmp_path, "arrival_s,prompt_tokens,output_tokens,ttft_s,tpot_ms\n0,5,11,1,20\n"))
    assert run.e2e_s == pytest.approx([1.2])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("arrival_s,prompt_tokens,output_tokens,ttft_s\n0,5,3,1\n", "no column tells the time to the last token"),
        ("arrival_s,prompt_tokens,output_tokens,ttft_s,e2e_s\n0,5,3,2,1\n", "line 2: e2e_s is '1', less than"),
        ("arrival_s,prompt_tokens,output_tokens,ttft_s,e2e_s\n0,5.5,3,1,2\n", "line 2: prompt_tokens is '5.5'"),
        (
            "arrival_s,prompt_tokens,output_tokens,ttft_s,e2e_s\n0,,3,1,2\n1,5,3,1,2\n2,0,3,1,2\n3,1.5,3,1,2\n",
            "line 2: prompt_tokens is None, not a whole number of tokens from 1 to 10,000,000 (and 2 more rows like",
        ),
        ("arrival_s,prompt_tokens,output_tokens,ttft_s,e2e_s\nx,5,3,1,2\n", "line 2: arrival_s is 'x'"),
        ("arrival_s,prompt_tokens,output_tokens,ttft_s,e2e_s,failed\n0,5,3,1,2,perhaps\n", "neither true nor false"),
        ("arrival_s,prompt_tokens,output_tokens,ttft,e2e\n0,5,3,900,90000\n", "name the unit"),
        ("arrival_s,prompt_tokens,output_tokens,ttft_s,e2e_s\n0,5,3,,\n", "nothing can be compared"),
    ],
)
def test_errors_name_place_and_mend(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TraceError) as caught:
        read_measured(written(tmp_path, text))
    assert words in str(caught.value) and "run.csv" in str(caught.value)


def test_the_real_runs(shared: Path) -> None:
    run = read_measured(shared / "reference/vllm_h100/llama-2-7b-tp1-codegen.requests.csv.gz")
    assert len(run.table) == 9000 and run.answered.all()
    assert run.table.output_tokens.min() == run.table.output_tokens.max() == 247
    other = read_measured(shared / "traces/llmservingsim/measured_vllm_RTXPRO6000_Llama-3.1-8B/requests.jsonl")
    # summary.txt beside it counts TTFT from the engine's queue: 7097.2 ms
    assert 7.097 < other.ttft_s.mean() < 7.13 and other.tpot_s.mean() == pytest.approx(0.0325, abs=5e-5)


def test_a_gateways_nested_log(tmp_path: Path) -> None:
    """Names with dots, as for a trace; an error counts whatever object it is."""
    good = {"@timestamp": "2024-05-01T10:00:00Z", "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    rows = [
        {**good, "ttft_ms": 50, "latency_ms": 500, "error": None},
        {**good, "ttft_ms": 50, "latency_ms": 500, "error": {"code": 429}},
    ]
    path = written(tmp_path, "\n".join(map(json.dumps, rows)), "run.jsonl")
    for columns in (None, {"arrival": "@timestamp", "prompt_tokens": "usage.prompt_tokens"}):
        run = read_measured(path, columns) if columns else read_measured(path)
        assert run.table.prompt_tokens.tolist() == [7, 7] and run.table.output_tokens.tolist() == [3, 3]
        assert run.e2e_s[0] == 0.5 and sorted(run.answered.tolist()) == [False, True]
