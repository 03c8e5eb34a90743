"""Sweeps: grids and searches, kept runs, failures, frontiers, and Ray."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import sim
from sim.errors import ScenarioError, ServecastError
from sim.export.page.opening import open_results
from sim.insight.comparison import METRICS, metrics_of
from sim.insight.sweeps import Sweep, sweep
from sim.insight.sweeps.axes import axis, grid
from sim.insight.sweeps.kept import key_of
from sim.insight.sweeps.points import Point
from tests.commands import servecast

CHAT: dict[str, Any] = {
    "name": "chat",
    "model": "llama-3.1-8b",
    "workload": {
        "arrivals": {"poisson": {"rate_per_s": 8}}, "requests": 40,
        "prompt_tokens": {"fixed": {"tokens": 300}}, "output_tokens": {"fixed": {"tokens": 30}},
    },
    "cluster": {"gpu": "h100-sxm"},
    "engine": {"max_model_len": 2048},
    "slo": {"ttft": "300ms", "tpot": "30ms"},
}  # fmt: skip
GRID = ["engine.max_num_seqs=1,4,64", "cluster.replicas=1,2"]


def test_a_grid_is_every_combination_run_by_itself() -> None:
    found = sweep(CHAT, GRID, seeds=2, jobs=1)
    assert len(found.points) == 6
    assert found.table["engine.max_num_seqs"].tolist() == [1, 1, 4, 4, 64, 64]
    overrides = ["engine.max_num_seqs=4", "cluster.replicas=2"]
    alone = [metrics_of(sim.run(CHAT, overrides=[*overrides, f"seed={seed}"]).summary) for seed in (0, 1)]
    point = next(point for point in found.points if point.overrides == tuple(overrides))
    for name in METRICS:
        values = [one[name] for one in alone]
        assert point.metrics[name] == pytest.approx(np.mean(values), nan_ok=True), name


def test_no_point_of_the_frontier_is_beaten_and_all_others_are() -> None:
    found = sweep(CHAT, GRID, jobs=1)
    best = {point.overrides for point in found.frontier}
    assert best
    assert ("engine.max_num_seqs=1", "cluster.replicas=1") not in best

    def costs(point: Point) -> np.ndarray:
        signs = [-1 if METRICS[name].more_is_better else 1 for name in found.objectives]
        return np.array(signs) * [point.metrics[name] for name in found.objectives]

    for point in found.points:
        beaten = any((costs(o) <= costs(point)).all() and (costs(o) < costs(point)).any() for o in found.points)
        assert beaten != (point.overrides in best)


def test_what_was_run_is_kept(tmp_path: Path) -> None:
    first = sweep(CHAT, GRID, keep=tmp_path, jobs=1)
    assert (first.from_before, len(list((tmp_path / "runs").iterdir()))) == (0, 6)
    again = sweep(CHAT, [*GRID[:1], "cluster.replicas=2,3"], keep=tmp_path, jobs=1)
    assert again.from_before == 3
    (tmp_path / "runs" / next((tmp_path / "runs").iterdir()).name).write_text("{ half")
    assert sweep(CHAT, GRID, keep=tmp_path, jobs=1).table.equals(first.table)


def test_the_key_of_a_run_knows_the_files_that_it_reads(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    scenario = {**CHAT, "workload": {"trace": {"csv": {"path": str(trace)}}}}
    keys = set()
    for count in (3, 4, 3):
        trace.write_text("arrival_s,prompt_tokens,output_tokens\n" + "1,100,5\n" * count)
        os.utime(trace, ns=(count, count))
        keys.add(key_of(sim.load(scenario)))
    assert len(keys) == 2
    assert key_of(sim.load(CHAT)) != key_of(sim.load(CHAT, ["seed=1"]))


def test_a_point_that_fails_is_reported() -> None:
    found = sweep(CHAT, ["engine.max_num_seqs=4,-1", "cluster.gpu=h100-sxm,no-such-gpu"], jobs=1)
    assert len(found.failed) == 3
    assert [bool(error) for error in found.table["error"]] == [False, True, True, True]
    with pytest.raises(ScenarioError, match=r"every point of the sweep failed, the first because: .*did you mean"):
        sweep(CHAT, ["cluster.gpu=h100"], jobs=1)


def test_a_search_is_the_same_whatever_runs_it(tmp_path: Path) -> None:
    space = ["engine.max_num_seqs=1:64:log", "cluster.replicas=1:3", "cluster.router=round_robin,random"]
    one = sweep(CHAT, space, search=20, jobs=1)
    two = sweep(CHAT, space, search=20, jobs=2, keep=tmp_path)
    assert one.table.equals(two.table)
    seats = one.table["engine.max_num_seqs"]
    assert (len(one.points), seats.min() >= 1, seats.max() <= 64) == (20, True, True)
    two.save(tmp_path)
    assert {"runs", "sweep.csv", "sweep.json", "sweep.png"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_that_was_stopped_goes_on(tmp_path: Path, by: signal.Signals) -> None:
    (tmp_path / "chat.yaml").write_text(yaml.safe_dump(CHAT))
    values = ",".join(map(str, range(1, 41)))
    line = [sys.executable, "-m", "sim.cli", "sweep", "chat.yaml", "--grid", f"engine.max_num_seqs={values}",
            "--out", "out", "--jobs", "1"]  # fmt: skip
    variables = {**os.environ, "PYTHONPATH": str(Path(sim.__file__).parents[1])}
    running = subprocess.Popen(
        line, cwd=tmp_path, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    runs = tmp_path / "out" / "runs"
    deadline = time.monotonic() + 60
    while not (runs.is_dir() and len(list(runs.glob("*.json"))) >= 3) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(by)
    _, complained = running.communicate()
    kept = len(list(runs.glob("[0-9a-f]*.json")))
    assert 3 <= kept < 40
    if by == signal.SIGINT:
        told = f"stopped after {kept} of 40 runs, which are kept in out; the same command goes on from there"
        assert (running.returncode, complained) == (130, f"servecast: {told}\n")
    with pytest.raises(ServecastError, match=r"is not finished; the same `servecast sweep"):
        open_results(str(tmp_path / "out"))
    found = sweep(tmp_path / "chat.yaml", [f"engine.max_num_seqs={values}"], keep=tmp_path / "out", jobs=1)
    assert found.from_before == kept
    assert len(found.points) == 40


def test_ray_gives_the_same_table() -> None:
    pytest.importorskip("ray")
    local = sweep(CHAT, GRID, jobs=1)
    assert sweep(CHAT, GRID, ray="local", jobs=2).table.equals(local.table)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("engine.max_num_seqs", "is not like"),
        ("=4", "is not like"),
        ("a=4:2", "must rise"),
        ("a=0:2:log", "from above 0"),
        ("a=1:2:lin", "or :log"),
    ],
)
def test_bad_axes(text: str, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        axis(text)


def test_bad_sweeps() -> None:
    for axes, options, words in [
        ([], {}, "nothing varies"),
        (["engine.max_num_seqs=1:4"], {}, "a range needs --search"),
        (["seed=1", "seed=2"], {}, "twice"),
        (GRID, {"objectives": ["preemptions"]}, "is none of"),
        (GRID, {"search": 0}, "at least 1"),
        (GRID, {"seeds": 0}, "at least 1"),
    ]:
        with pytest.raises(ScenarioError, match=words):
            sweep(CHAT, axes, jobs=1, **options)


def test_values_may_hold_commas_and_parameters() -> None:
    one = axis("cluster.router=round_robin,{weighted: {a: 1, b: 2}}, random")
    assert one.values == ("round_robin", "{weighted: {a: 1, b: 2}}", "random")
    assert grid([axis("a=1,2"), axis("b=x")]) == [("a=1", "b=x"), ("a=2", "b=x")]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_frontier_of_any_points(values: list[tuple[int, int]]) -> None:
    nan = dict.fromkeys(METRICS, float("nan"))
    points = tuple(Point((f"k={i}",), {**nan, "mean_ttft_ms": a, "mean_tpot_ms": b}) for i, (a, b) in enumerate(values))
    found = Sweep("x", ("k",), ("mean_ttft_ms", "mean_tpot_ms"), points, 1, 0)
    best = {values[int(point.overrides[0][2:])] for point in found.frontier}
    assert best == {v for v in values if not any(o != v and o[0] <= v[0] and o[1] <= v[1] for o in values)}


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "chat.yaml").write_text(yaml.safe_dump(CHAT))
    line = ["sweep", str(tmp_path / "chat.yaml"), "--grid", GRID[0], "--out", str(tmp_path / "o"), "--jobs", "1"]
    assert servecast(monkeypatch, *line, "--objective", "p99_ttft_ms", "--objective", "output_throughput") == 0
    out = capsys.readouterr().out
    assert "beaten by no other" in out
    assert (tmp_path / "o" / "sweep.csv").read_text().count("\n") == 4


def test_a_known_crossing_of_two_policies_is_found() -> None:
    """One at a time is an M/D/1 queue, s = 1 s: a request waits r / (2 (1 - r)). In batches of four, which also take
    1 s, it waits 1.5 / r for the others, and hardly for the server. They cross where both are 1.9 s, near r = 0.79.
    """
    queue = {
        **CHAT,
        "workload": {
            "arrivals": {"poisson": {"rate_per_s": 1}}, "requests": 4000,
            "prompt_tokens": {"fixed": {"tokens": 10}}, "output_tokens": {"fixed": {"tokens": 1}},
        },
        "engine": {"max_model_len": 2048, "host_request_s": 0, "host_output_s": 0},
        "latency": {"linear": {"base_s": 1, "per_prefill_token_s": 0, "per_decode_s": 0}},
        "slo": {"ttft": "10s"},
    }  # fmt: skip
    axes = ["workload.load=0.6,0.7,0.88,0.95", "engine.batching=one_at_a_time,{static: {batch_size: 4, timeout: 1h}}"]
    found = sweep(queue, axes, objectives=["mean_ttft_ms"], jobs=1)
    wait_s = found.table["mean_ttft_ms"].to_numpy().reshape(4, 2) / 1e3 - 1
    for rate, (alone, _) in zip((0.6, 0.7), wait_s[:2], strict=True):
        assert alone == pytest.approx(rate / (2 * (1 - rate)), rel=0.15)
    assert (wait_s[:2, 0] < wait_s[:2, 1]).all()
    assert (wait_s[2:, 0] > wait_s[2:, 1]).all()
