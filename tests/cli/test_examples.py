"""The examples in every help run as they stand, on a small scenario."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import sim
from sim.export.saved import saved_run
from sim.export.vllm_bench import bench_result
from sim.report.save import summary_json
from tests.cli.test_help import ALL
from tests.commands import servecast

SMALL = {
    "name": "small", "model": "llama-3.1-8b", "cluster": {"gpu": "h100-sxm"}, "slo": {"ttft": "1s", "tpot": "50ms"},
    "engine": {"max_model_len": 4096},
    "workload": {
        "arrivals": {"poisson": {"rate_per_s": 20}}, "prompt_tokens": {"fixed": {"tokens": 200}},
        "output_tokens": {"fixed": {"tokens": 12}}, "requests": 40,
    },
    "variants": {"tenfold": {"workload": {"load": 10}}},
}  # fmt: skip
ELSEWHERE = {"calibrate", "lockstep", "trace"}
"""Verbs whose examples name files of other programs, or measure this machine: their own tests run them."""


def examples() -> Iterator[str]:
    for path, command in ALL.items():
        if path[0] not in ELSEWHERE:
            yield from (line for line in (command.help or "").splitlines() if line.startswith("servecast "))


def words_of(example: str) -> list[str]:
    """Its words, without the comment and what the shell does with the output."""
    _, *words = shlex.split(example.partition("  #")[0])
    if ">" in words:
        words = words[: words.index(">")]
    options = {name for parameter in ALL[tuple(words[: 1 + (words[0] in GROUPS)])].params for name in parameter.opts}
    if "--set" in options and "quickstart" in words and "--start" not in words:
        words += ["--set", "workload.trace.csv.limit=40"]
    return words + ["--jobs", "1"] * ("--jobs" in options) + ["--force"] * (words[0] == "init")


GROUPS = {path[0] for path in ALL if len(path) > 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that examples name."""
    here = tmp_path_factory.mktemp("examples")
    for name in ("my", "today", "tomorrow"):
        (here / f"{name}.yaml").write_text(yaml.safe_dump({**SMALL, "name": name}))
    result = sim.run(here / "my.yaml")
    for name in ("quickstart", "engines"):
        result.save(here / "out" / name)
    (here / "bench.json").write_text(summary_json(bench_result(saved_run(result))[0]))
    result.requests[["arrival_s", "prompt_tokens", "output_tokens"]].to_csv(here / "requests.csv", index=False)
    return here


@pytest.mark.parametrize("example", examples())
def test_an_example_of_the_help_runs(
    example: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    words = words_of(example)
    if words[0] == "init":
        words = [word.replace("my.yaml", "new.yaml") for word in words]
    code = servecast(monkeypatch, *words)
    printed, told = capsys.readouterr()
    assert code == 0, told
    assert printed or "--quiet" in words
    for place in (words[words.index(option) + 1] for option in ("--out", "--plot", "--junit") if option in words):
        assert (folder / place).exists()
