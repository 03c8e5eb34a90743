"""One small result of every kind."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

import sim
from sim.export.page.replicas import MOST_REPLICAS
from sim.export.saved import saved_run
from sim.export.vllm_bench import bench_result
from sim.insight import Comparison, Diagnosis, Sweep
from sim.insight.answers import Capacities, Sizes
from sim.insight.check import Check
from sim.insight.check.check import measure
from sim.insight.validation import Validation
from sim.run import Result
from tests.commands import servecast

SMALL = ("workload.trace.csv.limit=60",)


@cache
def run() -> Result:
    """The quickstart's first requests."""
    return sim.run("quickstart", overrides=SMALL)


@cache
def comparison() -> Comparison:
    """Its variants."""
    return sim.compare("quickstart", overrides=SMALL, jobs=1)


@cache
def diagnosis() -> Diagnosis:
    """What holds it back under twelvefold load."""
    overrides = ("workload.trace.csv.limit=80", "workload.trace.csv.speedup=60", "cluster.replicas=1")
    return sim.diagnose("quickstart", overrides=(*overrides, "slo.ttft=100ms"), jobs=1)


@cache
def sweep() -> Sweep:
    """Its requests under two batch limits."""
    return sim.sweep("quickstart", ["engine.max_num_seqs=4,64"], overrides=SMALL, jobs=1)


ODD = "<script>nothing.such()</script> & <b>co</b>"
"""A name that must be shown as it is."""

TINY: dict[str, Any] = {
    "name": ODD, "model": "llama-3.1-8b", "cluster": {"gpu": "h100-sxm"}, "slo": {"ttft": "1s", "tpot": "50ms"},
    "workload": {
        "arrivals": {"poisson": {"rate_per_s": 20}}, "prompt_tokens": {"fixed": {"tokens": 400}},
        "output_tokens": {"fixed": {"tokens": 20}}, "requests": 80,
    },
}  # fmt: skip


@cache
def fleet() -> Result:
    """More replicas than are shown one by one."""
    return sim.run({**TINY, "cluster": {"gpu": "h100-sxm", "replicas": MOST_REPLICAS + 6}})


def write_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A folder of every kind, as the verbs and objects write them, with names that look like markup."""
    run().save(folder / "run")
    fleet().save(folder / "fleet")
    odd = {**TINY, "name": "odd", "variants": {ODD: {"engine": {"max_num_seqs": 2}}}}
    sim.compare(odd, jobs=1).save(folder / "compare")
    diagnosis().save(folder / "diagnose")
    write_sweep(folder / "sweep")
    asked = folder / "tiny.yaml"
    asked.write_text(yaml.safe_dump({**TINY, "variants": {"two": {"cluster": {"replicas": 2}}}}), encoding="utf-8")
    one = folder / "one.yaml"
    one.write_text(yaml.safe_dump({**TINY, "name": "one"}), encoding="utf-8")
    bench = folder / "bench.json"
    bench.write_text(json.dumps(bench_result(saved_run(sim.run(one)))[0]), encoding="utf-8")
    trace = folder / "trace.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{i},{90 + i},9\n" for i in range(50)))
    baseline = folder / "baseline.json"
    jobs = ("--jobs", "1")
    for arguments in (
        ("capacity", str(asked), "--tolerance", "0.5", *jobs, "--out", str(folder / "capacity")),
        ("size", str(one), "--gpu", "h100-sxm", "--gpu", "l4", "--set", "engine.max_model_len=8192", *jobs,
         "--out", str(folder / "size")),
        ("memory", str(one), "--out", str(folder / "memory")),
        ("trace", "describe", str(trace), "--out", str(folder / "trace")),
        ("check", str(one), "--baseline", str(baseline), "--update", "--seeds", "2", *jobs),
        ("check", str(one), "--baseline", str(baseline), "--set", "engine.max_num_seqs=1", *jobs,
         "--out", str(folder / "check")),
        ("validate", str(one), "--measured", str(bench), "--out", str(folder / "validate")),
    ):  # fmt: skip
        assert servecast(monkeypatch, *arguments) in (0, 1)
    write_engine_validation(folder / "profile")
    names = (
        "profile", "run", "fleet", "compare", "diagnose", "sweep", "capacity", "size", "memory", "trace", "check",
        "validate",
    )  # fmt: skip
    return [folder / name for name in names]


def write_engine_validation(folder: Path) -> None:
    """What `servecast calibrate validate` leaves, by hand."""
    folder.mkdir()
    error = {"median": 0.031, "worst": 0.09, "worst_workload": "burst <1>", "goal": 0.05, "reached": True}
    told = {
        "profile": {"name": "my-gpu", "date": "2026-01-01"}, "device": {"name": "a GPU"}, "made_with": {},
        "model": "tiny", "workloads": {"burst <1>": {}, "steady": {}},
        "overall": {"step": error, "mean_ttft": {**error, "goal": None, "reached": None}, "identical_decisions": True},
    }  # fmt: skip
    (folder / "validation.json").write_text(json.dumps(told), encoding="utf-8")
    (folder / "validation_report.md").write_text("", encoding="utf-8")


@cache
def sizes() -> Sizes:
    """How many of two kinds of GPUs carry its first requests."""
    return sim.size("quickstart", gpus=["h100-sxm", "l40s"], overrides=SMALL, jobs=1)


@cache
def capacities() -> Capacities:
    """What two and three GPUs carry of them."""
    return sim.capacity("quickstart", variants=["as written", "three GPUs"], tolerance=1, overrides=SMALL, jobs=1)


@cache
def validation() -> Validation:
    """The run against what it said itself."""
    with TemporaryDirectory() as folder:
        measured = Path(folder) / "measured.csv"
        run().requests[["arrival_s", "prompt_tokens", "output_tokens", "ttft_s", "e2e_s"]].to_csv(measured, index=False)
        return sim.validate("quickstart", measured)


@cache
def check() -> Check:
    """It against itself as a baseline."""
    baseline, _ = measure(sim.load("quickstart", SMALL), (1,), jobs=1)
    return sim.check("quickstart", baseline, overrides=SMALL, jobs=1)


def write_sweep(folder: Path) -> None:
    """A sweep's table, written by hand."""
    folder.mkdir()
    head = "engine.max_num_seqs,cluster.replicas,request_goodput,output_throughput,p99_ttft_ms,saturated,frontier,error"
    rows = ("16,1,0.5,1800,21000,True,False,", "64,2,9.25,4600,145,False,True,", "1,2,,,,False,False,too <small>")
    (folder / "sweep.csv").write_text("\n".join((head, *rows, "")), encoding="utf-8")
