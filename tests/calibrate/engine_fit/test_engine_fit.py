"""Host costs that were put into a simulation are found again in its log, and errors are split as they were made."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import sim
from calibrate.engine_fit.run import engine_fit
from sim import cli

SCENARIO: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "cluster": {"gpu": "h100-sxm"},
    "engine": {"max_num_seqs": 256, "max_num_batched_tokens": 1024, "max_model_len": 2048},
}
WORKLOAD: dict[str, Any] = {
    "arrivals": {"piecewise": {"rates": [[0, 6], [25, 30]]}},
    "prompt_tokens": {"uniform": {"low": 20, "high": 300}},
    "output_tokens": {"uniform": {"low": 40, "high": 160}},
    "duration": 45,
}


def log_of(
    folder: Path, engine: dict[str, Any], scenario: dict[str, Any] = SCENARIO, workload: dict[str, Any] = WORKLOAD
) -> Path:
    """The log of a server with these host costs."""
    said = {**scenario, "engine": {**scenario["engine"], **engine}, "workload": workload}
    frame = sim.run(said).requests
    table = pd.DataFrame(
        {
            "arrival_s": frame["arrival_s"],
            "prompt_id": frame["id"],
            "prompt_tokens": frame["prompt_tokens"],
            "output_tokens": frame["output_tokens"],
            "ttft_s": frame["ttft_s"],
            "e2e_s": frame["e2e_s"],
        }
    )
    path = folder / "log.csv"
    table.to_csv(path, index=False)
    return path


def yaml_of(folder: Path, scenario: dict[str, Any] = SCENARIO) -> Path:
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(scenario))
    return path


def test_known_costs_are_recovered_and_the_error_is_put_where_it_was_made(tmp_path: Path) -> None:
    true = {"host_exposed_s": 0.0015, "host_request_s": 0.02, "host_output_s": 0.0006}
    report = engine_fit(log_of(tmp_path, true), yaml_of(tmp_path), None)
    for name, value in true.items():
        cost = report["costs"][name]
        assert cost["identified"]
        assert cost["value"] == pytest.approx(value, rel=0.05)
        assert cost["low"] <= value * 1.02 and cost["high"] >= value * 0.98
    assert abs(report["error_of_means"]["after"]["e2e"]) < 0.003
    assert report["error_of_means"]["before"]["ttft"] < -0.2
    parts = ("step_time", "kv_capacity", "host_overhead", "scheduling", "workload")
    for latency in ("ttft", "tpot", "e2e"):
        split = report["error_split"][latency]
        assert sum(split[part] for part in parts) == pytest.approx(split["all"], abs=1e-9)
        assert split["host_overhead"] == pytest.approx(split["all"], abs=0.02)
    assert report["error_split"]["kv_blocks"]["told_by_the_engine"] is False


def test_a_synchronous_engine_shows_its_work_per_step(tmp_path: Path) -> None:
    scenario = {**SCENARIO, "engine": {**SCENARIO["engine"], "async_scheduling": False}}
    report = engine_fit(
        log_of(tmp_path, {"host_step_s": 0.004, "host_seq_s": 1e-4}, scenario), yaml_of(tmp_path, scenario), None
    )
    costs = report["costs"]
    assert costs["host_step_s"]["value"] == pytest.approx(0.004, rel=0.1)
    assert costs["host_seq_s"]["value"] == pytest.approx(1e-4, rel=0.1)


def test_a_log_of_steps_tells_step_times_from_overhead(tmp_path: Path) -> None:
    scenario = yaml_of(tmp_path)
    log = log_of(tmp_path, {}, workload={**WORKLOAD, "duration": 8})
    slow = engine_fit(log, scenario, _steps(tmp_path, log, scenario, 1.2))
    assert slow["steps"]["median_error"] == pytest.approx(1 / 1.2 - 1, abs=0.01)
    assert slow["error_split"]["tpot"]["step_time"] < -0.1  # as the log has it, its times are too short


def _steps(folder: Path, log: Path, scenario: Path, factor: float) -> Path:
    from calibrate.engine_fit.replay import Replay
    from sim.models.shape import BatchShape
    from sim.scenario import load
    from sim.workload.measured.read import read_measured

    run = read_measured(log)
    replay = Replay("log", load(scenario, workload={"trace": {"measured": {"path": str(log)}}}), run)
    timer = replay.setup.timer()
    decodes = np.tile(np.arange(1, 33), 4)
    times = [timer.step(BatchShape([], int(n), int(n) * 500, int(n))).total_s * factor for n in decodes]
    path = folder / f"steps{factor}.csv"
    table = pd.DataFrame({"decode_tokens": decodes, "prefill_tokens": 0, "context_tokens": decodes * 500})
    table.assign(step_time_ms=np.array(times) * 1e3).to_csv(path, index=False)
    return path


def test_the_command_writes_keys_that_a_scenario_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    log = log_of(tmp_path, {"host_request_s": 0.05}, workload={**WORKLOAD, "duration": 8})
    scenario, out = yaml_of(tmp_path), tmp_path / "overhead.yaml"
    arguments = ["--requests", str(log), "--scenario", str(scenario), "--out", str(out), "--format", "json"]
    monkeypatch.setattr(sys, "argv", ["servecast", "calibrate", "engine", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0
    report = json.loads(capsys.readouterr().out)
    assert report["format"] == "servecast-engine-fit/1"
    engine = yaml.safe_load(out.read_text())["engine"]
    assert engine == report["engine"]
    assert sim.load({**SCENARIO, "engine": engine, "workload": WORKLOAD}).engine.host_request_s == pytest.approx(
        0.05, rel=0.05
    )
