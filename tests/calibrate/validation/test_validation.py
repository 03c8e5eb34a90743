"""A validation from end to end on the CPU, for real: measured, fitted, served in real time, simulated, reported.

Decisions and bookkeeping are held exactly. Times are those of whatever machine runs the test, and bounds on
them are wide.
"""

import csv
import gzip
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from calibrate.fit.build import fit
from calibrate.measuring import measure, plan_for
from calibrate.planning import Scope
from calibrate.validation.report import verdict
from calibrate.validation.run import Validation, WorkloadRun, compared, overall, run_validation
from calibrate.validation.save import save
from calibrate.validation.settings import Settings, Sizes, make_settings
from calibrate.validation.workloads import KINDS
from sim import hardware
from sim.errors import ServecastError

SIZES = Sizes("tiny", max_num_seqs=6, max_num_batched_tokens=48, unit_tokens=16, seconds=0.3)
CONFIG = {
    "model_type": "llama", "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 1024,
    "torch_dtype": "bfloat16",
}  # fmt: skip


@dataclass(frozen=True)
class Done:
    settings: Settings
    validation: Validation
    folder: Path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    threads = torch.get_num_threads()
    folder = tmp_path_factory.mktemp("validation")
    config, plan, profile = folder / "mini.json", folder / "plan.json", folder / "cpu"
    config.write_text(json.dumps(CONFIG))
    scope = Scope(
        tensor_parallel=(1,), weight_dtypes=("bf16",), kv_dtypes=("bf16",), max_tokens=48, max_context_tokens=512,
        max_batch=8, max_copy_bytes=2**16, generic=False,
    )  # fmt: skip
    plan_for([str(config)], scope, plan)
    assert measure(profile, plan, 60.0, "cpu", quiet=True) == 0
    fit(profile)
    made = make_settings(profile, str(config), "cpu", None, SIZES.seconds, seed=1)
    settings = replace(made, sizes=SIZES)
    validation = run_validation(settings)
    yield Done(settings, validation, save(validation, folder / "out"))
    torch.set_num_threads(threads)


def test_all_six_workloads_are_served_and_simulated_with_the_same_decisions(done: Done) -> None:
    runs = done.validation.runs
    assert [run.name for run in runs] == list(KINDS) and len(runs) == 6
    for run in runs:
        assert run.replayed.identical, run.name
        assert run.replayed.requests["e2e_s"].tolist() == pytest.approx([r.e2e_s for r in run.log.requests], rel=1e-6)
        answered = sum(map(len, run.log.answers))
        assert answered == sum(row.output_tokens for row in run.log.requests)
        sampled = sum(step.sampled for step in run.log.steps)
        assert sampled == answered
        ends = [step.end_s for step in run.log.steps]
        assert all(before <= step.start_s for before, step in zip(ends, run.log.steps[1:], strict=False))
        assert all(0 <= step.device_s <= step.duration_s for step in run.log.steps)


def test_each_workload_asks_what_it_is_for(done: Done) -> None:
    runs = {run.name: run for run in done.validation.runs}
    busy = {name: run.summary["busy"] for name, run in runs.items()}
    assert busy["light"] < busy["heavy"]
    chunked = [any(before for shape in run.log.shapes for _, before in shape.prefills) for run in runs.values()]
    assert chunked[list(runs).index("long_prompt")]
    decoding = {name: run.summary["step"]["decode"]["steps"] for name, run in runs.items()}
    assert decoding["long_output"] > decoding["long_prompt"]
    starved = runs["kv_starved"]
    most = max(step.kv_used_blocks for step in starved.log.steps)
    assert most > 0.7 * starved.summary["num_gpu_blocks"]
    assert runs["heavy"].summary["num_gpu_blocks"] > 2 * starved.summary["num_gpu_blocks"]


def test_times_are_of_the_right_size(done: Done) -> None:
    """Within four times: between measuring and serving, the machine may have got other things to do."""
    found = done.validation.summary
    assert found["overall"]["identical_decisions"]
    for name, workload in found["workloads"].items():
        assert 0.25 < 1 + workload["step"]["all"]["total"] < 4, name
        assert 0.25 < 1 + workload["throughput"]["error"] < 4, name
    assert 0 < done.validation.host.host_step_s < 0.02


def test_a_profile_of_twice_the_times_is_found_wrong(done: Done, tmp_path: Path) -> None:
    doubled = tmp_path / "doubled"
    shutil.copytree(done.settings.profile.folder, doubled)
    file = doubled / "points.csv.gz"
    rows = list(csv.DictReader(gzip.decompress(file.read_bytes()).decode().splitlines()))
    with gzip.open(file, "wt", newline="") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows({**row, "time_s": 2 * float(row["time_s"])} for row in rows)
    settings = done.settings
    runs = done.validation.runs
    single = [again(done, run, settings, tmp_path) for run in runs]
    double = [again(done, run, replace(settings, profile=hardware.load(doubled)), tmp_path) for run in runs]
    for one, two in zip(single, double, strict=True):
        ratio = two.steps["predicted_device_s"] / one.steps["predicted_device_s"]
        assert (
            ratio[~one.steps["extrapolated"]].between(1.9, 2.1).all()
        )  # points are rounded, latencies are not doubled
        assert two.summary["step"]["all"]["device_total"] > one.summary["step"]["all"]["device_total"] + 0.5
        assert two.summary["latency"]["e2e"]["mean"]["error"] > one.summary["latency"]["e2e"]["mean"]["error"] + 0.3
        assert two.replayed.identical  # the decisions are the engine's none the less
    judged = overall({run.name: run.summary for run in double})
    assert not judged["e2e"]["reached"]
    assert "E2E" in verdict({"overall": judged}).split("Goals missed")[1]


def again(done: Done, run: WorkloadRun, settings: Settings, folder: Path) -> WorkloadRun:
    """A log held against another profile; nothing is served again."""
    trace = folder / f"{run.name}.csv"
    with trace.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["arrival_s", "prompt_tokens", "output_tokens"])
        writer.writerows([row.arrival_s, row.prompt_tokens, row.output_tokens] for row in run.log.requests)
    host = done.validation.host
    engine = {
        "max_model_len": run.kind.max_model_len(settings.unit_tokens),
        "num_gpu_blocks_override": run.summary["num_gpu_blocks"],
        **host.engine,
    }
    scenario = settings.scenario(run.name, {"trace": {"csv": {"path": str(trace)}}}, engine)
    return compared(run.name, run.rate_per_s, scenario, run.log, host)


def test_the_report_is_on_disk(done: Done) -> None:
    summary = json.loads((done.folder / "validation.json").read_text())
    assert summary == json.loads(json.dumps(done.validation.summary))
    report = (done.folder / "validation_report.md").read_text()
    for name in KINDS:
        assert f"| {name} |" in report
        steps = pd.read_csv(done.folder / "validation_logs" / f"{name}_steps.csv")
        assert len(steps) == summary["workloads"][name]["engine_steps"]["measured"]
    for picture in ("validation_steps.png", "validation_latency.png"):
        assert (done.folder / picture).read_bytes().startswith(b"\x89PNG")
    assert not list(done.folder.glob(".validation*"))


def test_what_cannot_be_validated_is_refused(done: Done) -> None:
    with pytest.raises(ServecastError, match=r"h100-sxm: not a profile measured by `servecast calibrate gpu`"):
        make_settings(hardware.load("h100-sxm").folder, None, "cpu", None, None, 0)
    profile = done.settings.profile.folder
    with pytest.raises(ServecastError, match=r"no workload 'ligth'.*'light'"):
        make_settings(profile, None, "cpu", ["ligth"], None, 0)
    with pytest.raises(ServecastError, match="--seconds must be more than 0"):
        make_settings(profile, None, "cpu", None, -1.0, 0)
    with pytest.raises(ServecastError, match="--device must be cuda or cpu"):
        make_settings(profile, None, "tpu", None, None, 0)


def test_a_profile_of_another_machine_is_refused(done: Done, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(done.settings.profile.folder, other)
    facts = json.loads((other / "measured_on.json").read_text())
    (other / "measured_on.json").write_text(json.dumps({**facts, "name": "another processor"}))
    with pytest.raises(ServecastError, match=r"measured on name 'another processor'"):
        make_settings(other, None, "cpu", None, None, 0)
