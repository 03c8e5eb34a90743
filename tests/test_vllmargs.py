"""vLLM's command line as settings of a scenario."""

import re
from pathlib import Path

import pytest

import sim
from sim.errors import ScenarioError
from sim.vllmargs import settings_of

FLAGS = (Path(__file__).parent / "vllm_serve_flags.txt").read_text().split()
"""The long flags of `vllm serve`, vLLM 0.33.0."""

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
        (
            "CUDA_VISIBLE_DEVICES=0,1 HF_HOME=/x vllm serve opt-13b -tp 2",
            ["model=opt-13b", "cluster.tensor_parallel=2"],
        ),
        ("uv run vllm serve opt-13b --port 1 > log.txt 2>&1 &", ["model=opt-13b"]),
        (
            "nohup /opt/venv/bin/vllm serve opt-13b --max-num-seqs 8 2>&1 | tee log",
            ["model=opt-13b", "engine.max_num_seqs=8"],
        ),
        ("python -m vllm.entrypoints.cli.main serve opt-13b", ["model=opt-13b"]),
        (
            "docker run --gpus all --rm -it -v ~/vllm:/root --ipc=host vllm/vllm-openai:v0.33.0 --model opt-13b",
            ["model=opt-13b"],
        ),
        (
            "docker run --rm --name vllm vllm/vllm-openai opt-13b --max-num-seqs=8",
            ["model=opt-13b", "engine.max_num_seqs=8"],
        ),
        ("docker run --gpus all myregistry/llm:1 --max-num-seqs 128", ["engine.max_num_seqs=128"]),
        ("docker run --gpus all --rm my/llm opt-13b --port 1", ["model=opt-13b"]),
        ("--max-num-batched-tokens 25.6k", ["engine.max_num_batched_tokens=25600"]),
        ("--dtype bfloat16 --kv-cache-dtype fp8_inc", ["engine.dtype=bfloat16", "engine.kv_cache_dtype=fp8"]),
        ("--quantization fbgemm_fp8", ["engine.quantization=fp8"]),
        (
            "-tp=4 -pp=2 -dp 2 -ep",
            [
                "cluster.tensor_parallel=4",
                "cluster.pipeline_parallel=2",
                "cluster.data_parallel=2",
                "cluster.enable_expert_parallel=true",
            ],
        ),
        ("--all2all-backend deepep_low_latency", ["cluster.all2all_backend=deepep_low_latency"]),
        ("""-cc '{"cudagraph_capture_sizes": [1, 2, 4]}'""", ["engine.cudagraph_capture_sizes=[1, 2, 4]"]),
        ("--max-cudagraph-capture-size 24", ["engine.cudagraph_capture_sizes=[1, 2, 4, 8, 16, 24]"]),
        ("--no-enable-dbo --nnodes 1 -O2 --api-key sk-1 --generation-config vllm", []),
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
        ("--speculative-config.method ngram", "it needs your acceptance rate"),
        (
            """--speculative-config '{"method": "ngram", "num_speculative_tokens": 4}'""",
            "engine.speculative: {num_speculative_tokens: 4, acceptance_rate: 0.7, draft_token: 0s}",
        ),
        (
            """-sc '{"model": "llama-3.2-1b", "num_speculative_tokens": 3}'""",
            "{num_speculative_tokens: 3, acceptance_rate: 0.7, draft_model: llama-3.2-1b}",
        ),
        ("""--kv-transfer-config '{"kv_connector": "NixlConnector", "kv_role": "kv_both"}'""", "the cluster's pools"),
        ("""--compilation-config '{"mode": 3}'""", "engine.cudagraph_capture_sizes"),
        ("-cc.mode=3", "--compilation-config.mode is not taken over"),
        ("-O3", "engine.cudagraph_capture_sizes"),
        ("--config server.yaml", "--config 'server.yaml' cannot be read: No such file or directory"),
        ("--config", "cannot be read"),
        ("--enable-dbo", "two batches that overlap are not modelled"),
        ("--nnodes 2", "cluster.gpus_per_node"),
        ("--stream-interval 10", "several tokens at once"),
        ("--kv-offloading-size 64", "engine.kv_offload: {host: 64GiB}"),
        ("--max-model-len auto", "give the length that the server logs"),
        ("--max-num-seqs 1.5K", "1.5K is no whole number to vLLM; did you mean 1.5k?"),
        ("--max-num-seqs 2.5", "is no whole number"),
        ("VLLM_USE_V1=0 vllm serve opt-13b", "set engine.preset=vllm-v0"),
        ("vllm serve --port 8000 opt-13b", "put it right behind `vllm serve`"),
        ("--max-num-seqs", "takes one value, not 'none'"),
        ("--max-num-seqs 3 4", "takes one value, not '3 4'"),
        ("--max-num-seqs many", "must be a whole number, such as 8192 or 8k, not 'many'"),
        ("--enforce-eager maybe", "takes no value"),
        ("--quantization marlin-9", "set engine.quantization to fp8, int8 or int4"),
        ("one two --port 3", "'two' stands where only one model can"),
        ("--port '3", "quote the whole command line"),
        ("-x 3", "-x is not a flag"),
    ],
)
def test_what_cannot_be_taken_over_is_said(text: str, words: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(words)) as caught:
        settings_of(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


def test_a_file_of_settings_is_read_and_flags_have_the_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "server.yaml").write_text(
        "model: opt-13b\nport: 8000\ntensor-parallel-size: 4\nmax_num_seqs: 64\nenforce-eager: true\n"
        "enable-prefix-caching: false\nenable-log-requests: false\nserved-model-name: [a, b]\n"
    )
    monkeypatch.chdir(tmp_path)
    expected = [
        "cluster.tensor_parallel=4",
        "engine.max_num_seqs=8",
        "engine.enforce_eager=true",
        "engine.enable_prefix_caching=false",
    ]
    for config in ("--config server.yaml", "--config=server.yaml"):
        found = settings_of(f"vllm serve {config} --max-num-seqs 8")
        assert found.overrides == ["model=opt-13b", *expected]
        assert found.ignored == ["--port", "--no-enable-log-requests", "--served-model-name"]
        assert settings_of(f"vllm serve llama-3.1-8b --max-num-seqs 8 {config}").overrides[0] == "model=llama-3.1-8b"
    (tmp_path / "server.yaml").write_text("kv-transfer-config: {kv_connector: NixlConnector}\n")
    with pytest.raises(ScenarioError, match="--kv-transfer-config is not taken over"):
        settings_of("--config server.yaml")
    (tmp_path / "server.yaml").write_text("- port\n")
    with pytest.raises(ScenarioError, match="holds no `flag: value` lines"):
        settings_of("--config server.yaml")


def test_every_flag_of_vllm_has_an_answer() -> None:
    """Taken over, without effect, or refused with what to do; never unknown."""
    for flag in FLAGS:
        for text in (f"--{flag}", f"--{flag} 3"):
            try:
                settings_of(text)
            except ScenarioError as refused:
                assert "is not a flag that servecast knows" not in str(refused)


def test_set_goes_on_top(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.commands import servecast

    arguments = ("--from-vllm-args", "--max-num-seqs 8 --port 1", "--set", "engine.max_num_seqs=3", "--format", "json")
    assert servecast(monkeypatch, "run", "quickstart", "--set", "workload.trace.csv.limit=40", *arguments) == 0
    printed, told = capsys.readouterr()
    assert '"batch_size_peak": 3' in printed
    assert told == "note: these flags do not matter to timing: --port\n"


def test_what_the_shell_goes_on_with_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from sim.cli.options import vllm_overrides

    assert vllm_overrides("--max-num-seqs 128 && echo hi") == ["engine.max_num_seqs=128"]
    assert capsys.readouterr().err == "note: left out, what the shell does with it: && echo hi\n"
