"""The four real vLLM runs: how far the shipped constants are off. Bands, for they were fitted to these runs."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.accuracy import load_runs, scenario
from calibrate.engine_fit.replay import mean_errors
from sim.insight.validation import validate


def test_means_on_the_real_runs(shared: Path) -> None:
    errors = {}
    for replay in load_runs(shared / "reference" / "vllm_h100"):
        found = mean_errors(replay.measured, replay.simulated())
        errors[replay.name] = found
        assert abs(found["e2e"]) < 0.02 and abs(found["tpot"]) < 0.02, (replay.name, found)
        assert abs(found["ttft"]) < 0.08, (replay.name, found)
    assert len(errors) == 4
    medians = {name: np.median([abs(found[name]) for found in errors.values()]) for name in ("ttft", "tpot", "e2e")}
    assert medians["ttft"] < 0.05 and medians["tpot"] < 0.01 and medians["e2e"] < 0.01


def test_a_real_run_does_not_diverge_and_its_stages_are_told_apart(shared: Path) -> None:
    folder = shared / "reference" / "vllm_h100"
    facts = json.loads((folder / "experiments.json").read_text())["llama-2-7b-tp1-codegen"]
    found = validate(scenario(facts), folder / facts["requests_file"])
    assert not found.diverged
    assert [stage["requests"] for stage in found.summary["stages"]] == [3000, 6000]
    for stage in found.summary["stages"]:
        assert abs(stage["metrics"]["tpot"]["p50"]["error"]) < 0.02
        assert stage["throughput"]["output_tokens_per_s"]["error"] == pytest.approx(0, abs=0.01)
