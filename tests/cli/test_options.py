"""Options that verbs share: settings in vLLM's words, and notes on what may not have been meant."""

import json
import shutil
from pathlib import Path

import pytest
import typer.main

from sim import cli
from sim.cli.options import changes
from sim.errors import ScenarioError
from sim.scenario import shipped
from tests.commands import servecast

SMALL = "workload.trace.csv.limit=20"


def test_every_verb_that_takes_set_takes_the_flags_of_vllm() -> None:
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert ("--set" in options) == ("--from-vllm-args" in options) or name == "init", name


@pytest.mark.parametrize(
    "arguments",
    [
        ("size", "quickstart"),
        ("capacity", "quickstart"),
        ("sweep", "quickstart", "--grid", "seed=1,2"),
        ("diagnose", "quickstart"),
        ("memory", "quickstart"),
        ("check", "quickstart", "--baseline", "none.json"),
        ("timeline", "quickstart"),
        ("report", "quickstart"),
        ("export", "quickstart", "there.txt", "--to", "prometheus"),
        ("validate", "quickstart", "--measured", "none.csv"),
    ],
)
def test_flags_reach_the_scenario(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert servecast(monkeypatch, *arguments, "--from-vllm-args", "-tp 4 --max-model-len 0") == 2
    assert "engine.max_model_len" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_memory_of_a_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    line = "vllm serve meta-llama/Llama-3.1-8B -tp 2 --gpu-memory-utilization 0.8"
    assert servecast(monkeypatch, "memory", "--from-vllm-args", line, "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["tensor_parallel"], found["gpu_memory_utilization"]) == ("llama-3.1-8b", 2, 0.8)


def test_gpus_of_all_replicas_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert changes("quickstart", set_=["cluster.replicas=4"], from_vllm_args="-tp 4") == [
        "cluster.tensor_parallel=4", "cluster.replicas=4",
    ]  # fmt: skip
    assert "note: 4 replicas x 4 GPUs = 16 GPUs; for a single replica" in capsys.readouterr().err
    changes("quickstart", set_=["cluster.replicas=1"], from_vllm_args="-tp 4")
    changes("quickstart", set_=[], from_vllm_args="-tp 4", quiet=True)
    changes("quickstart", set_=["cluster.tensor_parallel=4"])
    assert capsys.readouterr().err == ""
    with pytest.raises(ScenarioError, match="no shipped scenario"):
        changes("nothing-such", set_=[], from_vllm_args="-tp 4")


def test_a_copy_beside_a_shipped_scenario_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(shipped()["quickstart"], "quickstart.yaml")
    shutil.copytree(shipped()["quickstart"].parent / "traces", "traces")
    assert servecast(monkeypatch, "run", "quickstart", "--set", SMALL, "--format", "json") == 0
    told = "note: quickstart is the scenario that ships; quickstart.yaml is here too: for that write quickstart.yaml\n"
    assert capsys.readouterr().err == told
    for source in ("quickstart.yaml", "./quickstart.yaml", "engines"):
        changes(source, set_=[])
    assert capsys.readouterr().err == ""
