"""A command line of vLLM as settings of a scenario: `vllm serve MODEL --max-num-seqs 128 -tp 2`.

Names: vLLM 0.32.0, vllm/engine/arg_utils.py and vllm/entrypoints/openai/cli_args.py, and older ones still in use.
"""

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from sim.choice import nearest
from sim.errors import ScenarioError

_PLACE = "--from-vllm-args"
_COUNT = re.compile(r"(\d+(?:\.\d+)?)([kKmMgG]?)")
_SIZES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}
"""vLLM's human_readable_int: 1k is 1000, 1K is 1024."""
_SHORT = {
    "-tp": "tensor-parallel-size",
    "-pp": "pipeline-parallel-size",
    "-dp": "data-parallel-size",
    "-ep": "enable-expert-parallel",
    "-q": "quantization",
    "-O": "optimization-level",
}
_WEIGHTS = {
    "fp8": "fp8", "awq": "int4", "awq_marlin": "int4", "gptq": "int4", "gptq_marlin": "int4", "int8": "int8",
    "none": "none",
}  # fmt: skip

_SWITCHES = {
    "enable-prefix-caching": ("engine.enable_prefix_caching", "true", "false"),
    "enable-chunked-prefill": ("engine.enable_chunked_prefill", "true", "false"),
    "async-scheduling": ("engine.async_scheduling", "true", "false"),
    "disable-hybrid-kv-cache-manager": ("engine.disable_hybrid_kv_cache_manager", "true", "false"),
    "scheduler-reserve-full-isl": ("engine.scheduler_reserve_full_isl", "true", "false"),
    "enable-expert-parallel": ("cluster.enable_expert_parallel", "true", "false"),
    "enforce-eager": ("engine.enforce_eager", "true", ""),
    "enable-lora": ("engine.lora.max_loras", "1", ""),
}
"""Flags that are on, or off with `no-` before them: the key, and its value for each; "" leaves the key alone."""

_NOT_MODELLED = {
    "speculative-config": "write engine.speculative into the scenario: it needs your acceptance rate",
    "kv-transfer-config": "write the cluster's pools or engine.kv_offload into the scenario",
    "config": "write its settings out as flags",
    "optimization-level": "engine.cudagraph_capture_sizes says which sizes have CUDA graphs",
    "compilation-config": "engine.cudagraph_capture_sizes says which sizes have CUDA graphs",
    "hf-overrides": "write them into a config.json and give its path as the model",
    "rope-scaling": "write it into a config.json and give its path as the model",
    "cpu-offload-gb": "weights in host memory are not modelled",
    "num-scheduler-steps": "several steps for one decision are not modelled",
    "max-num-partial-prefills": "a limit on partial prefills is not modelled",
    "enable-dbo": "two batches that overlap are not modelled; cluster.overlap_communication is a share that hides",
    "enable-eplb": "experts that move between GPUs are not modelled; cluster.expert_load says how uneven they are",
    "decode-context-parallel-size": "context parallelism is not modelled",
    "prefill-context-parallel-size": "context parallelism is not modelled",
}
"""Flags that change how long things take, and what to do instead."""

_NO_MATTER = frozenset(
    """
    host port uds api-key served-model-name trust-remote-code download-dir load-format model-loader-extra-config
    tokenizer tokenizer-mode tokenizer-revision revision code-revision hf-token hf-config-path config-format
    chat-template chat-template-content-format response-role seed generation-config override-generation-config
    uvicorn-log-level disable-uvicorn-access-log disable-log-stats disable-log-requests enable-log-requests
    enable-log-outputs max-log-len enable-auto-tool-choice tool-call-parser tool-parser-plugin tool-server
    reasoning-parser enable-reasoning ssl-keyfile ssl-certfile ssl-ca-certs ssl-cert-reqs enable-ssl-refresh
    allow-credentials allowed-origins allowed-methods allowed-headers root-path middleware
    return-tokens-as-token-ids enable-request-id-headers disable-fastapi-docs enable-prompt-tokens-details
    enable-server-load-tracking enable-force-include-usage log-config-file max-logprobs logprobs-mode
    distributed-executor-backend worker-cls worker-extension-cls max-parallel-loading-workers
    ray-workers-use-nsight api-server-count headless disable-frontend-multiprocessing data-parallel-address
    data-parallel-rpc-port data-parallel-backend data-parallel-size-local data-parallel-start-rank
    data-parallel-hybrid-lb data-parallel-external-lb otlp-traces-endpoint collect-detailed-traces
    show-hidden-metrics-for-version kv-cache-metrics kv-events-config model-impl runner convert task device
    use-v2-block-manager disable-mm-preprocessor-cache limit-mm-per-prompt mm-processor-kwargs
    mm-processor-cache-gb allowed-local-media-path guided-decoding-backend structured-outputs-config lora-modules
    lora-dtype skip-tokenizer-init enable-prompt-embeds enable-sleep-mode calculate-kv-scales
    prefix-caching-hash-algo ignore-patterns safetensors-load-strategy use-tqdm-on-load
    disable-cascade-attn enable-tokenizer-info-endpoint disable-access-log-for-endpoints
    """.split()  # noqa: SIM905
)
"""Flags that say where a server listens, what it logs, how it loads, what text looks like: nothing about time.

`disable-cascade-attn` chooses between kernels that a profile does not tell apart; `seed` is that of sampling.
"""


class Settings(NamedTuple):
    """What a command line says: overrides like "engine.max_num_seqs=128", and the flags that made no difference."""

    overrides: list[str]
    ignored: list[str]


def settings_of(text: str) -> Settings:
    """The settings in a vLLM command line, with `vllm serve MODEL` before the flags or without.

    Raises ScenarioError for a flag that is not known, one that is not modelled, or a value that cannot be.
    """
    try:
        words = shlex.split(text.replace("\\\n", " "), comments=False)
    except ValueError as error:
        raise ScenarioError(f"{_PLACE}: {error}; quote the whole command line") from None
    overrides, ignored = list(_positional(words)), []
    for flag, values in _flags(words):
        if flag in _NO_MATTER or flag.removeprefix("no-") in _NO_MATTER:
            ignored.append(f"--{flag}")
            continue
        overrides += _override(flag, values)
    return Settings(_in_order(overrides), ignored)


def _positional(words: Sequence[str]) -> Iterator[str]:
    """The model before the first flag, behind `vllm serve` or `python -m vllm.entrypoints...`."""
    first = next((i for i, word in enumerate(words) if word.startswith("-") and word != "-m"), len(words))
    before = list(words[:first])
    if before[:2] == ["vllm", "serve"]:
        before = before[2:]
    elif "-m" in before:
        before = before[before.index("-m") + 2 :]
    if len(before) > 1:
        raise ScenarioError(f"{_PLACE}: {before[1]!r} stands where only one model can; quote the whole command line")
    if before:
        yield f"model={before[0]}"


def _flags(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each flag without its dashes, in vLLM's spelling, and the values behind it."""
    flag, values = "", []
    for word in words:
        if not word.startswith("-") or _is_number(word) or word == "-m":
            values.append(word)
            continue
        if flag:
            yield flag, values
        name, equals, value = word.partition("=")
        if word[:2] == "-O":
            name, value, equals = "-O", word[2:].lstrip("="), word[2:]
        if name in _SHORT:
            flag = _SHORT[name]
        elif name.startswith("--") and len(name) > 2:
            flag = name[2:].replace("_", "-")
        else:
            raise ScenarioError(
                f"{_PLACE}: {name} is not a flag that servecast knows; leave it out, or write it in full"
            )
        values = [value] if equals else []
    if flag:
        yield flag, values


def _override(flag: str, values: list[str]) -> Iterator[str]:
    on = not flag.startswith("no-")
    name = flag if on else flag.removeprefix("no-")
    if name in _SWITCHES:
        key, yes, no = _SWITCHES[name]
        if values and values[0].lower() in ("true", "false") and len(values) == 1:
            on = on == (values.pop().lower() == "true")
        if values:
            raise ScenarioError(f"{_PLACE}: --{flag} takes no value, so what is {' '.join(values)!r}?")
        if value := yes if on else no:
            yield f"{key}={value}"
        return
    if name in _NOT_MODELLED:
        raise ScenarioError(f"{_PLACE}: --{flag} is not taken over: {_NOT_MODELLED[name]}, and leave the flag out")
    if name not in _VALUES or not on:
        hint = nearest(name, [*_VALUES, *_SWITCHES, *_NOT_MODELLED, *sorted(_NO_MATTER)])
        mend = hint if "did you mean" in hint else "; leave it out if it does not matter to timing, else set the key"
        raise ScenarioError(f"{_PLACE}: --{flag} is not a flag that servecast knows{mend}")
    key, read = _VALUES[name]
    if not values or (len(values) > 1 and read is not _list):
        raise ScenarioError(f"{_PLACE}: --{flag} takes one value, not {' '.join(values) or 'none'!r}")
    yield f"{key}={read(' '.join(values), flag)}"


def _count(text: str, flag: str) -> str:
    found = _COUNT.fullmatch(text)
    if found is None:
        raise ScenarioError(f"{_PLACE}: --{flag} must be a whole number, such as 8192 or 8k, not {text!r}")
    return str(round(float(found[1]) * _SIZES[found[2]]))


def _number(text: str, flag: str) -> str:
    if not _is_number(text):
        raise ScenarioError(f"{_PLACE}: --{flag} must be a number, not {text!r}")
    return text


def _gibibytes(text: str, flag: str) -> str:
    return f"{_number(text, flag)}GiB"


def _word(text: str, flag: str) -> str:
    return text


def _list(text: str, flag: str) -> str:
    return f"[{', '.join(_count(word, flag) for word in re.split(r'[ ,]+', text.strip('[] ')))}]"


def _quantization(text: str, flag: str) -> str:
    if text.lower() not in _WEIGHTS:
        known = ", ".join(_WEIGHTS)
        raise ScenarioError(f"{_PLACE}: --{flag} {text} is not known ({known}); set engine.quantization in its place")
    return _WEIGHTS[text.lower()]


def _kv_dtype(text: str, flag: str) -> str:
    return "fp8" if text.startswith("fp8") else text


_VALUES: dict[str, tuple[str, Callable[[str, str], str]]] = {
    "model": ("model", _word),
    "max-num-seqs": ("engine.max_num_seqs", _count),
    "max-num-batched-tokens": ("engine.max_num_batched_tokens", _count),
    "max-num-scheduled-tokens": ("engine.max_num_scheduled_tokens", _count),
    "max-model-len": ("engine.max_model_len", _count),
    "long-prefill-token-threshold": ("engine.long_prefill_token_threshold", _count),
    "block-size": ("engine.block_size", _count),
    "num-gpu-blocks-override": ("engine.num_gpu_blocks_override", _count),
    "gpu-memory-utilization": ("engine.gpu_memory_utilization", _number),
    "watermark": ("engine.watermark", _number),
    "swap-space": ("engine.swap_space", _gibibytes),
    "preemption-mode": ("engine.preemption", _word),
    "dtype": ("engine.dtype", _word),
    "kv-cache-dtype": ("engine.kv_cache_dtype", _kv_dtype),
    "quantization": ("engine.quantization", _quantization),
    "scheduling-policy": ("engine.ordering", _word),
    "cudagraph-capture-sizes": ("engine.cudagraph_capture_sizes", _list),
    "cuda-graph-sizes": ("engine.cudagraph_capture_sizes", _list),
    "tensor-parallel-size": ("cluster.tensor_parallel", _count),
    "pipeline-parallel-size": ("cluster.pipeline_parallel", _count),
    "data-parallel-size": ("cluster.data_parallel", _count),
    "max-loras": ("engine.lora.max_loras", _count),
    "max-lora-rank": ("engine.lora.max_lora_rank", _count),
    "max-cpu-loras": ("engine.lora.max_cpu_loras", _count),
}
"""Flags that take a value: the scenario's key, and how the value is read."""


def _in_order(overrides: list[str]) -> list[str]:
    """The last word on each key, in the order of their first: `--enable-lora --max-loras 4` means 4, either way."""
    said: dict[str, str] = {}
    for override in overrides:
        key, _, value = override.partition("=")
        if not (key == "engine.lora.max_loras" and value == "1" and key in said):
            said[key] = value
    return [f"{key}={value}" for key, value in said.items()]


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d*)?|-?\.\d+", text) is not None
