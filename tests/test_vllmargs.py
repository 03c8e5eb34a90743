"""vLLM's command line as settings of a scenario."""

import re

import pytest

import sim
from sim.errors import ScenarioError
from sim.vllmargs import settings_of

COMMAND = """vllm serve meta-llama/Llama-3.1-8B-Instruct \\
  --max-num-seqs 128 --max_num_batched_tokens=4k --max-model-len 16K --gpu-memory-utilization .85 \\
  -tp 2 --pipeline-parallel-size=2 --no-enable-prefix-caching --kv-cache-dtype fp8_e5m2 --quantization awq_marlin \\
  --cudagraph-capture-sizes 1 2 4 8 --scheduling-policy priority --swap-space 8 --block-size 32 \\
  --host 0.0.0.0 --port 8000 --trust-remote-code --served-model-name a b --no-enable-log-requests"""


def test_a_whole_command_line() -> None:
    found = settings_of(COMMAND.replace("\\\n", ""))
    assert found.overrides == [
        "model=meta-llama/Llama-3.1-8B-Instruct", "engine.max_num_seqs=128", "engine.max_num_batched_tokens=4000",
        "engine.max_model_len=16384", "engine.gpu_memory_utilization=.85", "cluster.tensor_parallel=2",
        "cluster.pipeline_parallel=2", "engine.enable_prefix_caching=false", "engine.kv_cache_dtype=fp8",
        "engine.quantization=int4", "engine.cudagraph_capture_sizes=[1, 2, 4, 8]", "engine.ordering=priority",
        "engine.swap_space=8GiB", "engine.block_size=32",
    ]  # fmt: skip
    assert found.ignored == [
        "--host",
        "--port",
        "--trust-remote-code",
        "--served-model-name",
        "--no-enable-log-requests",
    ]
    assert settings_of(COMMAND) == found  # with its line ends, as pasted


def test_the_settings_are_ones_that_a_scenario_takes() -> None:
    loaded = sim.load("quickstart", settings_of(COMMAND).overrides)
    assert (loaded.engine.max_num_seqs, loaded.cluster.tensor_parallel) == (128, 2)
    assert loaded.engine.cudagraph_capture_sizes == (1, 2, 4, 8)
    assert loaded.engine.gpu_memory_utilization == 0.85


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        ("", []),
        ("python3 -m vllm.entrypoints.openai.api_server --model opt-13b", ["model=opt-13b"]),
        ("--enable-lora", ["engine.lora.max_loras=1"]),
        ("--enable-lora --max-loras 4", ["engine.lora.max_loras=4"]),
        ("--max-loras 4 --enable-lora", ["engine.lora.max_loras=4"]),
        ("--max-num-seqs 1 --max-num-seqs 2", ["engine.max_num_seqs=2"]),
        ("--enforce-eager", ["engine.enforce_eager=true"]),
        ("--enable-chunked-prefill False", ["engine.enable_chunked_prefill=false"]),
        ("--async-scheduling", ["engine.async_scheduling=true"]),
        ("--no-async-scheduling", ["engine.async_scheduling=false"]),
    ],
)
def test_settings(text: str, overrides: list[str]) -> None:
    assert settings_of(text).overrides == overrides


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("--max-num-sequences 3", "did you mean 'max-num-seqs'?"),
        ("--frobnicate", "--frobnicate is not a flag that servecast knows; leave it out if it does not matter"),
        ("--speculative-config '{}'", "it needs your acceptance rate"),
        ("-O3", "engine.cudagraph_capture_sizes"),
        ("--config server.yaml", "write its settings out"),
        ("--max-num-seqs", "takes one value, not 'none'"),
        ("--max-num-seqs 3 4", "takes one value, not '3 4'"),
        ("--max-num-seqs many", "must be a whole number, such as 8192 or 8k, not 'many'"),
        ("--enforce-eager maybe", "takes no value"),
        ("--quantization marlin-9", "--quantization marlin-9 is not known"),
        ("one two --port 3", "'two' stands where only one model can"),
        ("--port '3", "quote the whole command line"),
        ("-x 3", "-x is not a flag"),
    ],
)
def test_what_cannot_be_taken_over_is_said(text: str, words: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(words)) as caught:
        settings_of(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


def test_set_goes_on_top(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.commands import servecast

    arguments = ("--from-vllm-args", "--max-num-seqs 8 --port 1", "--set", "engine.max_num_seqs=3", "--format", "json")
    assert servecast(monkeypatch, "run", "quickstart", "--set", "workload.trace.csv.limit=40", *arguments) == 0
    printed, told = capsys.readouterr()
    assert '"batch_size_peak": 3' in printed
    assert told == "note: these flags do not matter to timing: --port\n"
