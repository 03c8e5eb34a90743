"""A scenario's engine section: the preset, and what differs from it."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from sim.choice import Choice
from sim.quantity import Bytes, Seconds
from sim.sections.engineparts import KVOffload, Lora, Speculative
from sim.sections.section import Count, Section


def _dtype(value: Any) -> Any:
    """vLLM's long names of number formats, as ours."""
    names = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "fp8_e4m3": "fp8", "awq": "int4", "gptq": "int4"}
    return names.get(value, value) if isinstance(value, str) else value


SETTINGS_OF_SOME_BATCHINGS = (
    "enable_chunked_prefill", "long_prefill_token_threshold", "long_prefill_token_threshold_adaptive",
    "scheduler_reserve_full_isl", "watermark",
)  # fmt: skip
"""Settings that only some batching policies have: those that name them in `reads`."""


class Engine(Section):
    """The serving engine: a preset, and what differs from it. Keys without a value take the preset's.

    A variant (or --set) that names a preset gets that engine's batching and KV cache, whatever the scenario itself
    says; limits, sizes and times that the scenario sets hold under every preset, as does all that --set says.
    """

    brings: ClassVar[dict[str, tuple[str, ...]]] = {"preset": ("batching", "kv_cache", *SETTINGS_OF_SOME_BATCHINGS)}

    preset: str | None = None
    """Which engine and version the defaults stand for (`servecast engines` lists them); default: vllm-v1. E.g.
    `sglang`."""
    batching: Annotated[Any, Choice("sim.batching")] | None = None
    """How a step is put together. E.g. `{sarathi: {chunk_tokens: 512}}`."""
    ordering: Annotated[Any, Choice("sim.ordering")] | None = None
    """Which waiting request is next (vLLM: --scheduling-policy). E.g. `shortest_job`."""
    max_num_seqs: Count | None = None
    """Most requests in one step. E.g. `256`."""
    max_num_batched_tokens: Count | None = None
    """Most tokens in one step. E.g. `8192`."""
    max_num_scheduled_tokens: Count | None = None
    """A lower limit on the tokens that the scheduler hands out in one step; default: none. E.g. `4096`."""
    enable_chunked_prefill: bool | None = None
    """Split prompts over steps. E.g. `true`."""
    long_prefill_token_threshold: Annotated[int, Field(ge=0)] | None = None
    """Most tokens of one prompt in one step while other requests exist; 0: no limit. E.g. `2048`."""
    long_prefill_token_threshold_adaptive: bool | None = None
    """Raise that threshold to the token budget divided by the number of requests."""
    kv_cache: Annotated[Any, Choice("sim.kvcache")] | None = None
    """How KV memory is handed out and shared. E.g. `radix`."""
    block_size: Count | None = None
    """Tokens in one KV block. E.g. `16`."""
    disable_hybrid_kv_cache_manager: bool | None = None
    """Keep the whole context in layers with a sliding window too, instead of freeing what leaves the window."""
    num_gpu_blocks_override: Annotated[int, Field(ge=2)] | None = None
    """KV blocks of a replica as a real engine logged them; default: derived from the memory. E.g. `27000`."""
    enable_prefix_caching: bool | None = None
    """Keep the KV blocks of finished requests and reuse them for equal beginnings. E.g. `true`."""
    preemption: Literal["recompute", "swap"] | None = None
    """What becomes of a request that loses its blocks: computed again, or kept in the host's memory."""
    swap_space: Bytes | None = None
    """Host memory for swapped requests, for each GPU (vLLM 0.6: --swap-space); default: 4GiB. E.g. `4GiB`."""
    kv_offload: KVOffload | None = None
    """Memory beyond the GPU's for prefixes that were evicted; default: none. E.g. `{host: 64GiB}`."""
    watermark: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of the KV blocks that an admission must leave free while others run. E.g. `0.01`."""
    scheduler_reserve_full_isl: bool | None = None
    """Admit a request only if its whole prompt fits now."""
    max_model_len: Count | None = None
    """Longest prompt and output together; default: what the model's config says. E.g. `16384`."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the GPU's memory that the engine may use. E.g. `0.9`."""
    dtype: Annotated[Literal["auto", "bf16", "fp16"], BeforeValidator(_dtype)] | None = None
    """Number format of activations, and of weights unless quantized; auto: bf16."""
    quantization: Annotated[Literal["none", "fp8", "int8", "int4"], BeforeValidator(_dtype)] | None = None
    """Number format of the weight matrices."""
    kv_cache_dtype: Annotated[Literal["auto", "bf16", "fp16", "fp8"], BeforeValidator(_dtype)] | None = None
    """Number format of the KV cache; auto: as dtype."""
    speculative: Speculative | None = None
    """Speculative decoding; default: none. E.g. `{num_speculative_tokens: 4, acceptance_rate: 0.7, draft_token:
    1ms}`."""
    lora: Lora | None = None
    """LoRA adapters; default: the engine takes none. E.g. `{max_loras: 8, max_cpu_loras: 32}`."""
    async_scheduling: bool | None = None
    """Decide a step while the one before it runs: hides the host's work; new requests wait one step more."""
    cudagraph_capture_sizes: tuple[Count, ...] | None = None
    """Batch sizes that steps are padded to; []: no CUDA graphs; default: vLLM's list for these limits. E.g. `[1, 2, 4,
    8, 16, 32]`."""
    enforce_eager: bool | None = None
    """Neither CUDA graphs nor compiled code, so that Python launches every kernel by itself."""
    host_step_s: Seconds | None = None
    """Host work of one step: scheduling, input preparation, launch, reading tokens back, detokenising. E.g. `500us`."""
    host_seq_s: Seconds | None = None
    """Further host work for every request in the step. E.g. `5us`."""
    host_exposed_s: Seconds | None = None
    """The part of it that never hides behind the GPU. E.g. `700us`."""
    host_request_s: Seconds | None = None
    """Time from a request's arrival at the API server to its arrival in the engine's queue. E.g. `5ms`."""
    host_output_s: Seconds | None = None
    """Time to hand one token to its client; all of a step's tokens wait for each other. E.g. `50us`."""
    moe_first_use_s: Seconds | None = None
    """Stall of a fresh server whenever a mixture's kernel meets a new range of rows; 0: it has served before. A fresh
    vLLM 0.15 was seen to take `930ms`."""
    eager_launch_s: Seconds | None = None
    """Host time to launch one kernel of compiled code when no CUDA graph fits the step. E.g. `4us`."""
    uncompiled_launch_s: Seconds | None = None
    """The same with enforce_eager, the Python around each kernel included. E.g. `60us`."""
