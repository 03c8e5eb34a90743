"""vLLM's flags that take a value: the scenario's key of each, and how the value is read."""

import json
import re
from collections.abc import Callable

from sim.errors import ScenarioError
from sim.vllmargs.words import PLACE

_COUNT = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT]?)")
_SIZES = {
    "": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40,
}  # fmt: skip
"""vLLM's human_readable_int: 1k is 1000, 1K is 1024."""
_WEIGHTS = {
    **dict.fromkeys(("fp8", "fbgemm_fp8", "modelopt", "ptpc_fp8"), "fp8"),
    **dict.fromkeys(("fp8_per_tensor", "fp8_per_block", "fp8_per_channel"), "fp8"),
    **dict.fromkeys(("awq", "auto_awq", "awq_marlin", "gptq", "auto_gptq", "gptq_marlin"), "int4"),
    **dict.fromkeys(("int8", "int8_per_channel_weight_only"), "int8"),
    "none": "none",
}
_KV = {"fp8_e4m3": "fp8", "fp8_e5m2": "fp8", "fp8_inc": "fp8", "bfloat16": "bf16", "float16": "fp16"}


def is_number(text: str) -> bool:
    """Whether it is one, with a sign or without."""
    return re.fullmatch(r"-?\d+(\.\d*)?|-?\.\d+", text) is not None


def _count(text: str, flag: str) -> str:
    found = _COUNT.fullmatch(text)
    if found is None:
        raise ScenarioError(f"{PLACE}: --{flag} must be a whole number, such as 8192 or 8k, not {text!r}")
    if "." in found[1] and found[2] in ("", "K", "M", "G", "T"):
        small = f"; did you mean {text.lower()}?" if found[2] else ""
        raise ScenarioError(f"{PLACE}: --{flag} {text} is no whole number to vLLM{small or ', such as 8192 or 8k'}")
    return str(int(float(found[1]) * _SIZES[found[2]]))


def _length(text: str, flag: str) -> str:
    if text in ("auto", "-1"):
        raise ScenarioError(
            f"{PLACE}: --{flag} {text} takes what fits into memory, which is not modelled; give the length that the "
            "server logs"
        )
    return _count(text, flag)


def _number(text: str, flag: str) -> str:
    if not is_number(text):
        raise ScenarioError(f"{PLACE}: --{flag} must be a number, not {text!r}")
    return text


def _gibibytes(text: str, flag: str) -> str:
    return f"{_number(text, flag)}GiB"


def _word(text: str, flag: str) -> str:
    return text


def counts(text: str, flag: str) -> str:
    """Whole numbers with spaces or commas between them, as a YAML list."""
    return f"[{', '.join(_count(word, flag) for word in re.split(r'[ ,]+', text.strip('[] ')))}]"


def _quantization(text: str, flag: str) -> str:
    if text.lower() not in _WEIGHTS:
        raise ScenarioError(
            f"{PLACE}: --{flag} {text} does not say here what the weights are; leave it out and set "
            "engine.quantization to fp8, int8 or int4"
        )
    return _WEIGHTS[text.lower()]


def _kv_dtype(text: str, flag: str) -> str:
    return _KV.get(text, text)


def _graphs_up_to(text: str, flag: str) -> str:
    """vLLM's list of sizes up to the largest: 1, 2, 4, then every eighth, from 256 on every sixteenth."""
    most = int(_count(text, flag))
    sizes = [1, 2, 4, *range(8, 256, 8), *range(256, most + 1, 16)]
    return f"[{', '.join(str(size) for size in sizes if size <= most)}]"


def graphs_of(text: str) -> str | None:
    """The sizes of CUDA graphs that a --compilation-config says, if it says nothing else; None: it does."""
    try:
        said = json.loads(text)
    except ValueError:
        return None
    if not isinstance(said, dict) or set(said) != {"cudagraph_capture_sizes"}:
        return None
    return counts(" ".join(map(str, said["cudagraph_capture_sizes"])), "compilation-config")


VALUES: dict[str, tuple[str, Callable[[str, str], str]]] = {
    "model": ("model", _word),
    "max-num-seqs": ("engine.max_num_seqs", _count),
    "max-num-batched-tokens": ("engine.max_num_batched_tokens", _count),
    "max-num-scheduled-tokens": ("engine.max_num_scheduled_tokens", _count),
    "max-model-len": ("engine.max_model_len", _length),
    "long-prefill-token-threshold": ("engine.long_prefill_token_threshold", _count),
    "block-size": ("engine.block_size", _count),
    "num-gpu-blocks-override": ("engine.num_gpu_blocks_override", _count),
    "gpu-memory-utilization": ("engine.gpu_memory_utilization", _number),
    "device-memory-utilization": ("engine.gpu_memory_utilization", _number),
    "watermark": ("engine.watermark", _number),
    "swap-space": ("engine.swap_space", _gibibytes),
    "preemption-mode": ("engine.preemption", _word),
    "dtype": ("engine.dtype", _word),
    "kv-cache-dtype": ("engine.kv_cache_dtype", _kv_dtype),
    "quantization": ("engine.quantization", _quantization),
    "scheduling-policy": ("engine.ordering", _word),
    "cudagraph-capture-sizes": ("engine.cudagraph_capture_sizes", counts),
    "cuda-graph-sizes": ("engine.cudagraph_capture_sizes", counts),
    "max-cudagraph-capture-size": ("engine.cudagraph_capture_sizes", _graphs_up_to),
    "tensor-parallel-size": ("cluster.tensor_parallel", _count),
    "pipeline-parallel-size": ("cluster.pipeline_parallel", _count),
    "data-parallel-size": ("cluster.data_parallel", _count),
    "all2all-backend": ("cluster.all2all_backend", _word),
    "max-loras": ("engine.lora.max_loras", _count),
    "max-lora-rank": ("engine.lora.max_lora_rank", _count),
    "max-cpu-loras": ("engine.lora.max_cpu_loras", _count),
}
"""Flags that take a value: the scenario's key, and how the value is read."""
