"""A validation of a run that the simulator made itself, and of the same run with planted errors."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import sim
from sim.errors import ScenarioError
from sim.insight.validation import validate
from tests.commands import servecast

SCENARIO: dict[str, Any] = {
    "name": "small",
    "model": "llama-3.1-8b",
    "cluster": {"gpu": "h100-sxm"},
    "engine": {"max_num_seqs": 32, "max_model_len": 4096},
    "workload": {
        "arrivals": {"poisson": {"rate_per_s": 12}},
        "prompt_tokens": {"uniform": {"low": 50, "high": 900}},
        "output_tokens": {"uniform": {"low": 1, "high": 120}},
        "requests": 300,
    },
}


def log_of(folder: Path, scenario: dict[str, Any] = SCENARIO, **times: float) -> Path:
    """A simulation's requests as a measured file; `times` multiply ttft and e2e."""
    frame = sim.run(scenario).requests
    table = pd.DataFrame(
        {
            "arrival_us": frame["arrival_s"] * 1e6,
            "stage": (frame["arrival_s"] > 10).astype(int),
            "input_tokens": frame["prompt_tokens"],
            "output_tokens": frame["output_tokens"],
            "ttft_us": frame["ttft_s"] * 1e6 * times.get("ttft", 1.0),
            "e2e_us": frame["e2e_s"] * 1e6 * times.get("e2e", 1.0),
        }
    )
    path = folder / "measured.csv"
    table.to_csv(path, index=False)
    return path


def without_workload() -> dict[str, Any]:
    return {key: value for key, value in SCENARIO.items() if key != "workload"}


def test_a_run_of_its_own_has_no_error(tmp_path: Path) -> None:
    found = validate(without_workload(), log_of(tmp_path))
    summary = found.summary
    assert not found.diverged and summary["requests"]["compared"] == 300
    for name in ("ttft", "tpot", "e2e"):
        for statistic in ("mean", "p50", "p90", "p99"):
            assert found.error(name, statistic) == pytest.approx(0, abs=1e-6)
    for rate in summary["throughput"].values():
        assert rate["error"] == pytest.approx(0, abs=1e-6)
    assert [stage["stage"] for stage in summary["stages"]] == ["0", "1"]
    assert sum(stage["requests"] for stage in summary["stages"]) == 300


def test_planted_errors_are_found(tmp_path: Path) -> None:
    found = validate(without_workload(), log_of(tmp_path, ttft=0.8, e2e=1.25))
    assert found.error("ttft") == pytest.approx(0.25, abs=1e-6)
    assert found.error("e2e") == pytest.approx(-0.2, abs=1e-6)
    assert found.error("e2e", "p99") == pytest.approx(-0.2, abs=1e-6)
    assert not found.diverged


def test_a_server_that_falls_behind_diverges(tmp_path: Path) -> None:
    slow = {**SCENARIO, "engine": {**SCENARIO["engine"], "max_num_seqs": 2}}
    found = validate(without_workload(), log_of(tmp_path, slow))
    assert found.diverged
    verdict = found.summary["divergence"]
    assert verdict["measured"]["saturated"] and not verdict["simulated"]["saturated"]
    assert "the measured queue still grows" in verdict["reasons"][0]
    assert not validate(slow, log_of(tmp_path, slow)).diverged


def test_the_workload_is_the_measured_one(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="takes its workload from the measured run"):
        validate(SCENARIO, log_of(tmp_path), overrides=["workload.requests=5"])
    found = validate(SCENARIO, log_of(tmp_path), overrides=["engine.host_request_s=50ms"])
    assert found.error("ttft") > 0.5
    assert found.result.scenario.workload.trace is not None


def test_failed_requests_are_load_and_are_not_compared(tmp_path: Path) -> None:
    path = log_of(tmp_path)
    table = pd.read_csv(path)
    table["failed"] = (table.index % 10 == 0).astype(int)
    table.to_csv(path, index=False)
    found = validate(SCENARIO, path)
    assert found.summary["requests"] == {
        "sent": 300, "compared": 270, "failed_in_measured": 30, "rejected_in_simulated": 0,
    }  # fmt: skip
    assert found.error("e2e") == pytest.approx(0, abs=1e-6)


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log = log_of(tmp_path)
    scenario = tmp_path / "small.yaml"
    scenario.write_text(
        "model: llama-3.1-8b\ncluster: {gpu: h100-sxm}\nengine: {max_num_seqs: 32, max_model_len: 4096}\n"
    )
    out, plot = tmp_path / "out", tmp_path / "plot.png"
    common = ("validate", str(scenario), "--measured", str(log))
    assert servecast(monkeypatch, *common, "--format", "json", "--out", str(out), "--plot", str(plot)) == 0
    printed, complained = capsys.readouterr()
    summary = json.loads(printed)
    assert summary["format"] == "servecast-validation/1" and complained == ""
    assert abs(summary["metrics"]["e2e"]["mean"]["error"]) < 1e-6
    assert {path.name for path in out.iterdir()} == {
        "validation.json", "requests.csv", "validation.png", "scenario.resolved.yaml", "command.txt",
    }  # fmt: skip
    assert plot.read_bytes()[:4] == b"\x89PNG"
    assert servecast(monkeypatch, *common) == 0
    printed, _ = capsys.readouterr()
    assert "mean TTFT" in printed and "not diverged" in printed and "stage 1" in printed
    assert servecast(monkeypatch, "validate", str(scenario), "--measured", str(tmp_path / "no.csv")) == 2
    assert "there is no file" in capsys.readouterr().err


def test_a_scenario_with_another_engines_keys_is_told_the_right_ones(tmp_path: Path) -> None:
    for key in ("num_gpu_blocks", "gpu_kv_blocks", "kv_blocks"):
        with pytest.raises(ScenarioError, match=r"engine\.num_gpu_blocks_override"):
            validate({**without_workload(), "engine": {key: 900}}, log_of(tmp_path))
