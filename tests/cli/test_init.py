"""First scenarios: written from options, questions or vLLM's flags, and copies of those that ship."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sim
from sim import cli
from sim.resolve import resolve_cluster
from sim.scenario import shipped
from tests.commands import servecast


def init(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    return servecast(monkeypatch, "init", *arguments)


def test_without_a_terminal_nothing_is_asked_and_the_file_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert init(monkeypatch) == 0
    assert "next: servecast run scenario.yaml" in capsys.readouterr().out
    assert sim.run("scenario.yaml", overrides=["workload.requests=50"]).summary["completed"] == 50
    assert set(sim.load("scenario.yaml").variants) == {"one more replica", "smaller steps"}
    text = Path("scenario.yaml").read_text()
    assert "servecast capacity scenario.yaml" in text
    assert len(re.findall(r"\S .*# ", text)) > 8  # it is commented


def test_options_and_flags_of_vllm_are_what_the_file_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "my.yaml"
    flags = "vllm serve Qwen/Qwen2.5-7B-Instruct --max-num-seqs 96 -tp 2 --port 8000 --enable-lora --max-loras 3"
    assert init(
        monkeypatch, str(file), "--gpu", "l40s", "--replicas", "3", "--rate", "7.5", "--prompt", "1500", "--output",
        "250", "--requests", "900", "--ttft", "2s", "--tpot", "80ms", "--from-vllm-args", flags, "--yes",
    ) == 0  # fmt: skip
    assert "--port" in capsys.readouterr().err
    found = sim.load(file)
    assert (found.model, found.cluster.gpu, found.cluster.replicas) == ("Qwen/Qwen2.5-7B-Instruct", "l40s", 3)
    assert (found.cluster.tensor_parallel, found.engine.max_num_seqs) == (2, 96)
    assert found.engine.lora is not None and found.engine.lora.max_loras == 3
    assert (found.slo.ttft, found.slo.tpot, found.workload.requests) == (2.0, 0.08, 900)
    assert found.workload.arrivals.rate_per_s == 7.5


def test_a_trace_is_found_from_the_file_s_own_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert servecast(monkeypatch, "scenarios", "copy", "quickstart", "here") == 0
    assert init(monkeypatch, "there/deep/my.yaml", "--trace", "here/traces/chat-sample.csv") == 0
    result = sim.run("there/deep/my.yaml", overrides=["workload.trace.csv.limit=20"])
    assert result.summary["completed"] == 20


def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    master, terminal = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    command = [sys.executable, "-m", "sim.cli", "init", "my.yaml", "--gpu", "l4"]
    with subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, cwd=tmp_path, env=env, text=True) as asked:
        os.write(master, b"qwen2.5-7b\n2\n\n3.5\n\n100\n\n60ms\n")
        told, _ = asked.communicate(timeout=60)
    assert asked.returncode == 0
    assert "Requests per second [10]" in told and "GPU [" not in told
    found = sim.load(tmp_path / "my.yaml")
    assert (found.model, found.cluster.replicas, found.cluster.gpu) == ("qwen2.5-7b", 2, "l4")
    assert found.workload.arrivals.rate_per_s == 3.5
    assert (found.slo.ttft, found.slo.tpot) == (0.5, 0.06)
    assert "GPUs:" not in told and "note:" not in told


def conversation(folder: Path, answers: bytes, *arguments: str) -> tuple[int, str]:
    """`servecast init` at a terminal: how it ended, and what it said."""
    master, terminal = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    command = [sys.executable, "-m", "sim.cli", "init", "my.yaml", *arguments]
    with subprocess.Popen(
        command, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder, env=env, text=True
    ) as asked:
        os.write(master, answers)
        told, _ = asked.communicate(timeout=60)
    return asked.returncode, told


def test_an_answer_that_cannot_be_is_asked_for_again(tmp_path: Path) -> None:
    answers = (
        b"foo\nllama-3.1-70b\n"  # no model; one that needs four GPUs of 80 GB
        b"a100\na100-80g\n" b"2\n3\n4\n"  # no GPU; too few of them; 3 does not divide 64 heads
        b"two\n0\n2\n" b"none.csv\n\n" b"fast\n-1\n3.5\n" b"1.5\n100\n\n"
        b"60\n600ms\n" b"5 parsecs\n60ms\n"
    )  # fmt: skip
    code, told = conversation(tmp_path, answers)
    assert code == 0, told
    for words in (
        "no built-in model 'foo'", "did you mean 'a100-40g' or 'a100-80g'?", "does not fit on 2 x a100-80g",
        "tensor_parallel 3 does not divide its 64 heads", "'two' is not a whole number", "'0' is not a whole number",
        "none.csv", "'fast' is not a number above 0", "'1.5' is not a whole number", "60 what? e.g. 60ms", "parsecs",
    ):  # fmt: skip
        assert words in told
    found = sim.load(tmp_path / "my.yaml")
    assert (found.model, found.cluster.gpu, found.cluster.tensor_parallel) == ("llama-3.1-70b", "a100-80g", 4)
    assert (found.cluster.replicas, found.workload.arrivals.rate_per_s) == (2, 3.5)
    assert (found.slo.ttft, found.slo.tpot) == (0.6, 0.06)


def test_the_end_of_the_input_is_no_traceback(tmp_path: Path) -> None:
    code, told = conversation(tmp_path, b"\x04")
    assert code == 130
    assert told.splitlines()[-1].endswith("servecast: stopped, nothing was written")
    assert not list(tmp_path.iterdir())


def test_without_a_terminal_the_defaults_are_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert init(monkeypatch, "a.yaml", "--replicas", "2") == 0
    told = capsys.readouterr().err
    assert told.startswith("note: not a terminal: these defaults were used: model llama-3.1-8b, gpu h100-sxm, rate 10")
    assert "replicas" not in told
    assert init(monkeypatch, "b.yaml", "--yes") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("gpu", ["a100-80g", "h100-sxm"])
@pytest.mark.parametrize("preset", ["vllm-v1", "vllm-v0", "sglang", "tgi", "naive-static"])
def test_comments_and_variants_are_true(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpu: str, preset: str) -> None:
    file = tmp_path / "my.yaml"
    assert init(monkeypatch, str(file), "--gpu", gpu, "--preset", preset, "--yes") == 0
    commented = {key: int(value) for key, value in re.findall(r"  # (max_num_\w+): (\d+)$", file.read_text(), re.M)}
    scenario = sim.load(file)
    chosen = resolve_cluster(scenario).scenario.engine
    assert commented == {key: getattr(chosen, key) for key in ("max_num_seqs", "max_num_batched_tokens")}
    _, engine = scenario.variants
    (changed,) = scenario.variants[engine]["engine"].items()
    assert changed[1] < commented[changed[0]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("there.yaml",), "there.yaml is there already"),
        (("new.yaml", "--gpu", "h100"), "servecast: there is no GPU profile 'h100'"),
        (("new.yaml", "--replicas", "x"), "'--replicas': must be a whole number (see servecast init --help)"),
        (("new.yaml", "--trace", "TRACE", "--rate", "5"), "tells when its requests arrive; leave the rate out"),
        (("new.yaml", "--trace", "TRACE", "--requests", "5"), "so --requests cannot be given with it"),
        (("new.yaml", "--ttft", "500"), "has no unit"),
        (("new.yaml", "--trace", "none.csv"), "none.csv"),
        (("new.yaml", "--from-vllm-args", "--max-num-sequences 3"), "did you mean 'max-num-seqs'?"),
    ],
)
def test_mistakes_are_said_and_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...],
    words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("there.yaml").write_text("model: x\n")
    trace = str(shipped()["quickstart"].parent / "traces" / "chat-sample.csv")
    assert init(monkeypatch, *(trace if word == "TRACE" else word for word in arguments)) == 2
    assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there.yaml"]
    assert Path("there.yaml").read_text() == "model: x\n"


def test_every_shipped_scenario_can_be_copied_and_loads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for number, name in enumerate(shipped()):
        folder = tmp_path / str(number)
        assert servecast(monkeypatch, "scenarios", "copy", name, str(folder)) == 0
        copied = folder / f"{name.split('/')[-1]}.yaml"
        assert sim.load(copied).workload == sim.load(name).workload


def test_copies_replace_nothing_unless_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "chat-sample.csv").write_text("mine")
    assert servecast(monkeypatch, "scenarios", "copy", "quickstart", str(tmp_path)) == 2
    assert "is there already" in capsys.readouterr().err
    assert not (tmp_path / "quickstart.yaml").exists()
    assert servecast(monkeypatch, "scenarios", "copy", "quickstart", str(tmp_path), "--force") == 0
    assert servecast(monkeypatch, "scenarios", "copy", "quikstart") == 2
    assert "did you mean 'quickstart'?" in capsys.readouterr().err
