"""`servecast memory`: the arithmetic of a GPU's memory."""

import json

import pytest

from tests.commands import servecast


def test_the_parts_are_the_whole_memory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Llama 3.1 8B is 16,060,522,496 bytes; a request of 1600 tokens takes 100 blocks of 16."""
    arguments = ("memory", "--model", "llama-3.1-8b", "--tokens", "1600", "--format", "json")
    assert servecast(monkeypatch, *arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parts_bytes"]["weights"] == 16_060_522_496
    assert sum(found["parts_bytes"].values()) == found["memory_bytes"]
    assert found["requests_that_fit"] == found["num_gpu_blocks"] / 100
    by_tokens = [*found["activation_bytes_by_max_num_batched_tokens"].values()]
    assert by_tokens == sorted(by_tokens)


def test_a_bar_and_the_arithmetic(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert servecast(monkeypatch, "memory", "quickstart", "--set", "engine.max_num_batched_tokens=2048") == 0
    printed = capsys.readouterr().out
    for words in ("████", "weights 15.0 GiB", "x gpu_memory_utilization", "requests of", "max_num_batched_tokens"):
        assert words in printed


@pytest.mark.parametrize(("option", "mend"), [("--gpu", "cluster.gpu=4"), ("--tp", "cluster.tensor_parallel=4")])
def test_options_of_a_model_are_refused_beside_a_scenario(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str, mend: str
) -> None:
    assert servecast(monkeypatch, "memory", "quickstart", option, "4") == 2
    assert f"{option} goes with --model; of a scenario, change --set {mend}" in capsys.readouterr().err


def test_one_of_scenario_and_model(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert servecast(monkeypatch, "memory") == 2
    assert "--model" in capsys.readouterr().err
