"""The command line: what it prints, where, and how it fails."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sim import cli
from sim.cli import progress as progress_bars
from sim.errors import ServecastError
from tests.commands import servecast

SMALL = ("--set", "workload.trace.csv.limit=30")


def apart(*arguments: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, in another folder."""
    command = [sys.executable, "-m", "sim.cli", *arguments]
    env = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, **options)


def test_run_prints_a_report_and_writes_the_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert servecast(monkeypatch, "run", "quickstart", *SMALL, "--out", str(tmp_path / "out")) == 0
    printed, complained = capsys.readouterr()
    for word in ("quickstart", "TTFT", "GPU time", "30 finished", "written to"):
        assert word in printed
    assert complained == ""
    assert (tmp_path / "out" / "overview.png").is_file()


def test_json_prints_json_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ("run", "quickstart", *SMALL, "--format", "json", "--seed", "5", "--out", str(tmp_path / "o"))
    assert servecast(monkeypatch, *arguments) == 0
    printed, complained = capsys.readouterr()
    summary = json.loads(printed)
    assert summary["completed"] == 30
    assert summary["made_with"]["seed"] == 5
    assert complained == ""
    assert printed == (tmp_path / "o" / "summary.json").read_text()


def test_quiet_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--quiet", "--no-fast-forward", "--out", str(tmp_path / "o"))
    assert servecast(monkeypatch, "run", "quickstart", *SMALL, *arguments) == 0
    assert capsys.readouterr() == ("", "")


def test_variant(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--variant", "three GPUs", "--format", "json")
    assert servecast(monkeypatch, "run", "quickstart", *SMALL, *arguments) == 0
    assert json.loads(capsys.readouterr().out)["replicas"] == 3


def test_the_quickstart_runs_from_any_folder(tmp_path: Path) -> None:
    done = apart("run", "quickstart", *SMALL, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "30 finished" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "nothing-such"), "no shipped scenario"),
        (("run", "quikstart"), "did you mean 'quickstart'?"),
        (("run", "none.yaml"), "no such file"),
        (("run", "quickstart", "--set", "engine.max_num_sequences=3"), "did you mean 'max_num_seqs'?"),
        (("run", "quickstart", "--set", "nonsense"), "key.subkey=value"),
        (("run", "quickstart", "--variant", "tenfolds"), "did you mean 'tenfold'?"),
        (("run", "quickstart", "--seed", "-1"), "seed must be"),
        (("run", "quickstart", "--seed", "x"), "--seed"),
        (("run", "quickstart", "--format", "xml"), "--format"),
        (("run", "quickstart", "--out", __file__), "a file of that name"),
        (("run", "quickstart", "--set", "model=llama-9"), "no built-in model"),
        (("run", "quickstart", "--set", "workload.trace.csv.path=none.csv"), "none.csv"),
        (("run",), "'scenario' (see servecast run --help)"),
        (("run", "quickstart", "--seed", "x"), "must be a whole number (see servecast run --help)"),
        (("engines", "show"), "(see servecast engines show --help)"),
        (("export", "x", "z.json"), "choose from: vllm-bench, prometheus"),
        (("check", "quickstart", "--baseline", "b.json", "--update", "--strict"), "--strict goes with a check"),
        (("frobnicate",), "'frobnicate' (see servecast --help)"),
        (("lockstep", "none.jsonl", "none.json"), "none.json"),
    ],
)
def test_a_mistake_is_one_sentence_on_stderr_and_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    assert servecast(monkeypatch, *arguments) == 2
    printed, complained = capsys.readouterr()
    assert printed == ""
    assert complained.startswith("servecast: ")
    assert complained.count("\n") == 1
    assert words.lower() in complained.lower()
    assert "Traceback" not in complained


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "stopped, nothing was written"),
        (OSError(28, "No space left on device"), 2, "the disk is full"),
        (MemoryError(), 2, "out of memory"),
        (ServecastError("this and that"), 2, "this and that"),
    ],
)
def test_what_happens_in_the_middle_of_a_run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    raised: BaseException,
    code: int,
    words: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(sys.modules["sim.run"], "run", fail)
    assert servecast(monkeypatch, "run", "quickstart", "--out", str(tmp_path / "out")) == code
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_unexpected_error_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys.modules["sim.run"], "run", fail)
    monkeypatch.setattr(sys, "argv", ["servecast", "run", "quickstart"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_a_closed_pipe_is_silent(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "sim.cli", "schema"]
    env = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_one_sentence(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "sim.cli", "version"]
        env = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
        done = subprocess.run(
            command, cwd=tmp_path, env=env, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "the disk is full" in done.stderr


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("models", ("llama-3.1-8b", "8.03 B", "131,072")),
        ("gpus", ("h100-sxm", "datasheet", "989 TFLOP/s")),
        ("engines", ("vllm-v1", "0.32.0")),
        ("scenarios", ("quickstart", "Question:")),
        ("version", ("servecast", "numpy", "simpy 4.")),
        ("schema", ('"$schema"', '"least_outstanding"')),
    ],
)
def test_lists(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str, words: tuple[str, ...]
) -> None:
    assert servecast(monkeypatch, verb) == 0
    printed = capsys.readouterr().out
    for word in words:
        assert word in printed
    if verb == "schema":
        assert json.loads(printed)["type"] == "object"


def test_lockstep_prints_json_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "t.jsonl").write_text('{"id": "a", "arrival_us": 0, "prompt": [["x", 5]], "output_len": 2}\n')
    (tmp_path / "c.json").write_text("{}")
    assert servecast(monkeypatch, "lockstep", str(tmp_path / "t.jsonl"), str(tmp_path / "c.json")) == 0
    kinds = [json.loads(line)["kind"] for line in capsys.readouterr().out.splitlines()]
    assert kinds == ["meta", "step", "step", "req"]


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    heavy = {"pandas", "matplotlib", "numpy", "scipy", "pydantic"}
    command = f"import sys; import sim.cli; print(sorted({heavy} & set(sys.modules)))"
    env = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    loaded = subprocess.run(
        [sys.executable, "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert loaded.stdout == "[]\n"
    done = apart("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "lockstep" in done.stdout


def test_no_arguments_show_the_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for group in ((), ("trace",)):
        assert servecast(monkeypatch, *group) == 0
        printed, complained = capsys.readouterr()
        assert printed.startswith("Usage: servecast")
        assert complained == ""


def test_version_is_an_option_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert servecast(monkeypatch, "--version") == 0
    printed = capsys.readouterr().out
    assert servecast(monkeypatch, "version") == 0
    assert printed == capsys.readouterr().out.splitlines(keepends=True)[0]


def test_the_bar_waits_and_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress_bars.time, "monotonic", lambda: clock[0])
    with progress_bars.Progress(shown=True) as progress:
        progress.update(1, 10)
        assert progress.bar is None
        clock[0] = 2.5
        progress.update(5, 10)
        assert progress.bar is not None
    assert progress.bar.finished is False
    with progress_bars.Progress(shown=False) as progress:
        clock[0] = 99.0
        progress.update(5, 10)
        assert progress.bar is None


def test_a_terminal_without_unicode_gets_a_report_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = apart("run", "quickstart", *SMALL, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "TTFT" in done.stdout


def test_out_without_a_name_is_refused(tmp_path: Path) -> None:
    done = apart("run", "quickstart", "--out", "", cwd=tmp_path)
    assert done.returncode == 2
    assert "--out needs the name of a folder" in done.stderr
    assert not list(tmp_path.iterdir())
