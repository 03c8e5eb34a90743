"""Measuring end to end, for real, on the CPU: stopped and continued, with kernels that fail and memory that lacks."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="measuring needs torch")

import torch

from calibrate.cli import app
from calibrate.gpu import runner
from calibrate.gpu.bench import Bench, Candidate, lacking
from calibrate.gpu.command import main
from calibrate.gpu.errors import MeasureError
from calibrate.gpu.ops import COLLECTIVES, OPS, gemm, paged
from calibrate.gpu.planfile import PlanPoint, read_plan
from calibrate.gpu.timing import Call
from calibrate.measuring import TINY, TINY_SCOPE, plan_for
from calibrate.planning import Scope, make_plan, write_plan
from calibrate.rawpoints import RawPoint, read
from sim import hardware, models
from sim.errors import ServecastError
from tests.conftest import ROOT

SCOPE = Scope(
    tensor_parallel=(1,),
    weight_dtypes=("bf16",),
    kv_dtypes=("bf16",),
    max_tokens=4,
    max_context_tokens=128,
    max_batch=2,
    max_copy_bytes=2**12,
    generic=False,
)
FEW = ("gemm", "norm", "copy_d2d", "attention_decode")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several tests may run at once, and threads that wait for each other would take all the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """Some dozen points of the tiny model."""
    content = make_plan([models.load(TINY)], SCOPE)
    curves = [curve for curve in content["curves"] if curve["op"] in FEW]
    content["curves"] = [curve for curve in curves if curve["fixed"].get("n") in (None, 512)]
    write_plan(content, tmp_path / "plan.json")
    return tmp_path / "plan.json"


def measure(out: Path, plan: Path, budget: float = 60.0) -> int:
    return main(["gpu", "--out", str(out), "--plan", str(plan), "--budget", str(budget), "--device", "cpu", "-q"])


def rows(out: Path) -> list[RawPoint]:
    return read(out / "raw.csv.gz")


def circumstances(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "measured_on.json").read_text()))


def test_a_plan_is_measured_to_its_end(plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cpu"
    assert measure(out, plan) == 0
    assert capsys.readouterr().out.startswith("finished after ")
    planned, found = read_plan(plan).points, rows(out)
    assert {point.key for point in planned} == {row.shape for row in found}
    assert {row.shape for row in found if row.held_out} == {point.key for point in planned if point.held_out}
    for row in found:
        assert row.measured and row.kernel.startswith("cpu_") and row.repeats and row.repeats >= 3
        assert row.time_s is not None and row.min_s is not None and 0 < row.min_s <= row.time_s < 1
    told = circumstances(out)
    assert told["device"] == "cpu" and told["torch"] == torch.__version__ and told["threads"] >= 1
    assert told["runs"][0]["ended"] == "finished" and told["counts"]["failed"] == 0
    assert measure(out, plan) == 0  # nothing is left to do
    assert rows(out) == found


def test_a_budget_ends_a_run_and_the_next_goes_on(plan: Path, tmp_path: Path) -> None:
    out, long = tmp_path / "cpu", tmp_path / "long.json"
    plan_for(["tiny"], TINY_SCOPE, long)
    runs = 0
    for budget in (3, 6, 12, 24):  # a busy machine may not get beyond its warm-up in the first
        assert measure(out, long, budget=budget) == 0
        runs += 1
        if (out / "raw.csv.gz").exists() and rows(out):
            break
    some = rows(out)
    assert 0 < len(some) < len(read_plan(long).points)
    assert measure(out, plan) == 0
    assert rows(out)[: len(some)] == some
    assert {row.shape for row in rows(out)} >= {point.key for point in read_plan(plan).points}
    assert [run["ended"] for run in circumstances(out)["runs"]] == ["budget"] * runs + ["finished"]


def test_ctrl_c_keeps_what_is_there(plan: Path, tmp_path: Path) -> None:
    out = tmp_path / "cpu"
    command = [sys.executable, "-m", "calibrate", "gpu", "--out", str(out), "--device", "cpu", "--budget", "120"]
    full = tmp_path / "full.json"
    plan_for(["tiny"], TINY_SCOPE, full)
    process = subprocess.Popen(
        [*command, "--plan", str(full)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (out / "raw.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.startswith("interrupted after ") and "the same command continues" in told
    assert rows(out) and circumstances(out)["runs"][0]["ended"] == "interrupted"


def some_kernel(name: str, call: Call, prepare_fails: Exception | None = None, error: float = 0.0) -> Candidate:
    def prepare() -> Call:
        if prepare_fails is not None:
            raise prepare_fails
        return call

    return Candidate(name, prepare, lambda: error, (name,))


def test_what_goes_wrong_with_a_kernel_is_recorded_and_skipped(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ValueError("no such thing")

    def kernels(point: PlanPoint, bench: Bench) -> list[Candidate]:
        return [
            some_kernel("broken", broken),
            some_kernel("large", lambda: None, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")),
            some_kernel("wrong", lambda: None, error=0.5),
            some_kernel("not_a_number", lambda: None, error=float("nan")),
            lacking("needs another machine"),
            *gemm.candidates(point, bench),
            some_kernel("last_resort", lambda: None),
        ]

    monkeypatch.setitem(OPS, "gemm", kernels)
    out = tmp_path / "cpu"
    assert measure(out, plan) == 0
    gemms = [row for row in rows(out) if row.op == "gemm"]
    shapes = {row.shape for row in gemms}

    def of(kernel: str) -> list[RawPoint]:
        return [row for row in gemms if row.kernel == f"cpu_{kernel}"]

    assert len(of("linear")) == len(shapes) and all(row.measured for row in of("linear"))
    for kernel, status, note in (
        ("broken", "failed", "ValueError: no such thing"),
        ("large", "oom", "OutOfMemoryError: CUDA out of memory"),
        ("wrong", "failed", "wrong: relative error 0.5 against float32"),
        ("not_a_number", "failed", "wrong: relative error nan"),
    ):
        assert len(of(kernel)) == len(shapes), kernel
        assert {row.status for row in of(kernel)} == {status}
        assert all(row.note.startswith(note) and row.time_s is None for row in of(kernel))
    assert len(of("none")) == 1  # what a machine lacks is told once
    assert circumstances(out)["counts"]["oom"] == len(shapes)


def test_a_last_resort_is_only_measured_where_nothing_else_could_be(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kernels(point: PlanPoint, bench: Bench) -> list[Candidate]:
        first = some_kernel("first", lambda: None, ValueError("odd") if point.number("m") % 2 else None)
        return [first, Candidate("resort", lambda: lambda: None, fallback=True)]

    monkeypatch.setitem(OPS, "gemm", kernels)
    assert measure(tmp_path / "cpu", plan) == 0
    gemms = [row for row in rows(tmp_path / "cpu") if row.op == "gemm"]
    assert {row.m for row in gemms if row.kernel == "cpu_resort"} == {1}
    assert {row.m for row in gemms if row.kernel == "cpu_first" and row.measured} == {2, 4}


def test_a_broken_row_names_its_file(plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cpu"
    out.mkdir()
    (out / "raw.csv").write_text("nonsense\n1\n")
    capsys.readouterr()
    assert measure(out, plan) == 2
    assert "raw.csv: its first row does not name the columns of a raw table" in capsys.readouterr().err


def test_another_machine_cannot_go_on_in_a_folder(plan: Path, tmp_path: Path) -> None:
    out = tmp_path / "cpu"
    measure(out, plan, budget=0.5)
    told = circumstances(out) | {"name": "Another Processor"}
    (out / "measured_on.json").write_text(json.dumps(told))
    with pytest.raises(MeasureError, match=r"measured with name 'Another Processor', and this is .*; choose another"):
        runner.measure(out, plan, 1.0, "cpu", quiet=True)


CHECKS = [
    PlanPoint(op, shape, detail, level, 0, False)
    for op, shape, detail in (
        ("gemm", {"dtype": "bf16", "n": 64, "k": 64, "m": 4}, {}),
        ("grouped_gemm", {"dtype": "bf16", "n": 64, "k": 64, "m": 4, "experts": 4, "experts_per_token": 2}, {}),
        ("attention_prefill", {"dtype": "bf16", "heads": 4, "kv_heads": 2, "head_dim": 32, "new_tokens": 9,
                               "context_tokens": 0}, {}),
        ("attention_prefill", {"dtype": "bf16", "heads": 4, "kv_heads": 2, "head_dim": 32, "new_tokens": 9,
                               "context_tokens": 30}, {}),
        ("attention_decode", {"dtype": "bf16", "heads": 4, "kv_heads": 1, "head_dim": 32, "batch": 3,
                              "context_tokens": 40}, {}),
        ("attention_decode", {"dtype": "fp8", "heads": 4, "kv_heads": 4, "head_dim": 32, "batch": 3,
                              "context_tokens": 40}, {}),
        *((op, {"bytes": 4096}, {"rows": 8, "width": 64}) for op in ("embedding", "norm", "activation", "sampling")),
        *((op, {"bytes": 4096}, {"rows": 8, "heads": 4, "kv_heads": 2, "head_dim": 32})
          for op in ("qk_norm", "rotary", "kv_write")),
        *((op, {"bytes": 4096}, {"rows": 8, "width": 64, "picks": 2}) for op in ("experts_activation", "experts_sum")),
        ("top_k", {"bytes": 4096}, {"rows": 8, "experts": 16, "picks": 3}),
        ("shared_activation", {"bytes": 4096}, {"rows": 8, "width": 64}),
        ("copy_d2d", {"bytes": 4096}, {}),
        ("launch_eager", {"m": 3}, {}),
        ("host_step", {"m": 3}, {}),
    )
    for level in (0,)
]  # fmt: skip


@pytest.mark.parametrize("point", CHECKS, ids=str)
def test_every_kernel_computes_what_it_should(point: PlanPoint) -> None:
    """Against float32, on inputs drawn for the check."""
    bench = Bench(torch.device("cpu"), 1, (0, 0), 2**24, triton=False)
    found = OPS[point.op](point, bench)
    assert found
    for candidate in found:
        assert candidate.check is not None
        assert candidate.check() <= candidate.tolerance, candidate.kernel
        candidate.prepare()()


def test_contexts_of_a_decode_batch_are_mixed_and_their_mean_is_exact() -> None:
    rng = np.random.default_rng(3)
    for batch, mean in ((1, 1), (7, 3), (64, 1000)):
        lengths = paged.mixed_lengths(batch, mean, rng)
        assert lengths.sum() == batch * mean and lengths.min() >= 1
    assert lengths.min() < 300 and lengths.max() > 1700


def test_every_op_of_the_shipped_plan_can_be_measured() -> None:
    assert {point.op for point in read_plan(TINY_PLAN).points} <= {*OPS, *COLLECTIVES}


TINY_PLAN = ROOT / "calibrate" / "plan.json.gz"


def test_from_the_command_line_to_a_profile(plan: Path, tmp_path: Path) -> None:
    out = tmp_path / "my-cpu"
    arguments = ["gpu", "--out", str(out), "--plan", str(plan), "--device", "cpu", "--budget", "60"]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0, told.output
    assert "held-out points" in told.output and f"{out} is a profile" in told.output
    profile = hardware.load(out)
    assert profile.provenance == "measured" and profile.points_file is not None
    assert profile.sources["peak_flops.bf16"].startswith("measured: ")
    (out / "points.csv.gz").unlink()
    told = CliRunner().invoke(app, ["fit", str(out), "-q"])
    assert told.exit_code == 0 and not told.stdout
    assert hardware.load(out).digest == profile.digest


def test_a_plan_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "new" / "plan.json.gz"
    sizes = ["--max-tokens", "16", "--max-context", "128", "--max-seqs", "4"]
    arguments = ["--model", "tiny", "--model", "qwen3-8b", "--tp", "2", "--tp", "1", "--no-generic", *sizes]
    told = CliRunner().invoke(app, ["plan", "--out", str(file), *arguments])
    assert told.exit_code == 0 and f"servecast calibrate gpu --plan {file}" in told.output
    plan = read_plan(file)
    assert plan.models == ("tiny", "qwen3-8b")
    assert f"{len(plan.points)} points" in told.output
    assert {point.shape["ranks"] for point in plan.points if point.op == "all_reduce"} == {2}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["gpu", "--out", "{}/x", "--budget", "0"], "--budget must be more than 0 seconds"),
        (["gpu", "--out", "{}/x", "--device", "tpu"], "--device must be cuda or cpu, not 'tpu'"),
        (["gpu", "--out", "{}/x", "--plan", "{}/none.json"], "none.json: not a readable plan"),
        (["gpu", "--out", "{}/file", "--device", "cpu"], "there is a file of that name; choose another folder"),
        (["plan", "--out", "{}/plan.txt"], "a plan is a .json or .json.gz file"),
        (["plan", "--out", "{}/p.json", "--tp", "0"], "--tp must be at least 1"),
        (["plan", "--out", "{}/p.json", "--model", "lama"], "lama"),
        (["fit", "{}/nowhere"], "measured_on.json is missing"),
    ],
)
def test_wrong_arguments_are_told(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = CliRunner().invoke(app, [argument.format(tmp_path) for argument in arguments])
    assert told.exit_code != 0
    assert isinstance(told.exception, ServecastError), told.exception
    assert complaint in str(told.exception)


def test_torch_and_numpy_are_all_that_measuring_needs(plan: Path, tmp_path: Path) -> None:
    """Every other package that is not Python's own refuses to be imported; pytest's plug-ins are not there."""
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"sim", "scipy", "pandas", "pydantic", "typer", "rich", "yaml", "matplotlib", "simpy",
                                  "pyarrow", "click"}:
            raise ImportError(f"{name} is not on a bare machine")
sys.meta_path.insert(0, Refuse())
sys.argv[0] = "calibrate"
from calibrate.gpu.command import main
sys.exit(main())
"""
    content = json.loads(plan.read_text())
    content["curves"] = content["curves"][:2]
    plan.write_text(json.dumps(content))
    arguments = ["gpu", "--out", str(tmp_path / "bare"), "--plan", str(plan), "--device", "cpu", "--budget", "60"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path / "bare")
