"""Every key of the engine section with its value, and what an engine refuses."""

from typing import Any

from sim import choice, hardware, preset
from sim.errors import ScenarioError
from sim.kvcache.contiguous import Contiguous
from sim.kvcache.paged import Paged
from sim.kvcache.tiers.swap import DEFAULT_SWAP_BYTES
from sim.latency import default_cudagraph_sizes
from sim.models import Model
from sim.resolve.lora import refuse_with_lora
from sim.sections import SETTINGS_OF_SOME_BATCHINGS, Engine


def filled(engine: Engine, model: Model, profile: hardware.Profile) -> dict[str, Any]:
    """Every key of the engine section with its value: the scenario's, the preset's, or by the engine's rule.

    The rules are those of vLLM's arg_utils.py and config/scheduler.py.
    """
    name = engine.preset or preset.DEFAULT
    defaults = preset.load(name).defaults(profile.name, profile.memory_bytes)
    given = {key: getattr(engine, key) for key in Engine.model_fields}
    values: dict[str, Any] = {k: defaults.get(k) if v is None else v for k, v in given.items()}
    values["preset"] = name
    batching = choice.build("sim.batching", values["batching"])
    ahead = getattr(batching, "decides_ahead", False)
    if engine.async_scheduling and not ahead:
        raise ScenarioError(
            f"batching {choice.name_of(batching)} cannot decide a step while one is under way; "
            "set async_scheduling to false, or leave it out"
        )
    if engine.speculative is not None:
        _refuse_speculation(engine, batching)
        ahead = False
    if engine.lora is not None:
        refuse_with_lora(values)
    reads = getattr(batching, "reads", ())
    for key in SETTINGS_OF_SOME_BATCHINGS:
        if key not in reads and given[key] not in (None, defaults.get(key)):
            raise ScenarioError(f"batching {choice.name_of(batching)} knows no {key}; leave it out")
    values["async_scheduling"] = values["async_scheduling"] and ahead
    # A step must hold the longest prompt where prompts are neither split nor rejected.
    refuses = getattr(batching, "refuses_long_prompts", False)
    splits = refuses or (values["enable_chunked_prefill"] and not getattr(batching, "whole_prompts", False))
    longest = values["max_model_len"] = min(values["max_model_len"] or model.max_position, model.max_position)
    if (engine.max_model_len or 0) > model.max_position:
        raise ScenarioError(
            f"max_model_len {engine.max_model_len} is more than the {model.max_position} positions of {model.name}"
        )
    if engine.max_num_batched_tokens is None:
        most = min(values["max_num_batched_tokens"], values["max_num_seqs"] * longest)
        values["max_num_batched_tokens"] = most if splits else max(most, longest)
    if engine.max_num_seqs is None:
        values["max_num_seqs"] = min(values["max_num_seqs"], values["max_num_batched_tokens"])
    _refuse_what_the_engine_refuses(values, splits)
    if values["kv_cache"] is None:
        values["kv_cache"] = "paged"
    if values["disable_hybrid_kv_cache_manager"] is None:
        values["disable_hybrid_kv_cache_manager"] = True
    _fill_memory_beyond_the_gpu(values)
    if values["dtype"] == "auto":
        values["dtype"] = "bf16"
    if values["kv_cache_dtype"] == "auto":
        values["kv_cache_dtype"] = values["dtype"]
    if values["enforce_eager"]:
        if engine.cudagraph_capture_sizes:
            raise ScenarioError("enforce_eager captures no CUDA graphs; leave out cudagraph_capture_sizes")
        values["cudagraph_capture_sizes"] = ()
    if values["cudagraph_capture_sizes"] is None:
        sizes = default_cudagraph_sizes(values["max_num_seqs"], values["max_num_batched_tokens"])
        values["cudagraph_capture_sizes"] = sizes
    return values


def _fill_memory_beyond_the_gpu(values: dict[str, Any]) -> None:
    """Defaults of preemption and offload; raises ScenarioError for what does not go together."""
    kv_cache = choice.build("sim.kvcache", values["kv_cache"])
    if values["preemption"] is None:
        values["preemption"] = "recompute"
    if values["preemption"] == "swap":
        if isinstance(kv_cache, Contiguous):
            raise ScenarioError("preemption swap with kv_cache contiguous: nobody is preempted there; leave it out")
        if values["swap_space"] is None:
            values["swap_space"] = DEFAULT_SWAP_BYTES
    elif values["swap_space"]:
        raise ScenarioError("swap_space is for preemption: swap; set that, or leave swap_space out")
    if values["kv_offload"] is not None and not (isinstance(kv_cache, Paged) and values["enable_prefix_caching"]):
        raise ScenarioError(
            "kv_offload keeps evicted blocks of vLLM's prefix cache; use kv_cache: paged with "
            "enable_prefix_caching: true, or leave it out"
        )


def _refuse_speculation(engine: Engine, batching: Any) -> None:
    if not getattr(batching, "schedules_drafts", False):
        raise ScenarioError(
            f"batching {choice.name_of(batching)} does not schedule drafts to check; use vllm_v1, or leave out "
            "speculative"
        )
    if engine.async_scheduling:
        raise ScenarioError(
            "speculative needs the tokens of a step before the next is decided; set async_scheduling to false, or "
            "leave it out"
        )


def _refuse_what_the_engine_refuses(values: dict[str, Any], splits: bool) -> None:
    tokens, seqs = values["max_num_batched_tokens"], values["max_num_seqs"]
    longest = values["max_model_len"]
    if tokens < seqs:
        raise ScenarioError(
            f"max_num_batched_tokens {tokens} is less than max_num_seqs {seqs}: a full batch "
            "could not decode; raise the one or lower the other"
        )
    if tokens < longest and not splits:
        raise ScenarioError(
            f"max_num_batched_tokens {tokens} is less than max_model_len {longest} with "
            "chunked prefill off: long prompts could never run; raise it, or lower max_model_len, or use a batching "
            "that splits prompts, with chunking on"
        )
    if (values["max_num_scheduled_tokens"] or 0) > tokens:
        raise ScenarioError(
            f"max_num_scheduled_tokens {values['max_num_scheduled_tokens']} is more than "
            f"max_num_batched_tokens {tokens}; lower it"
        )
    if values["long_prefill_token_threshold"] > longest:
        raise ScenarioError(
            f"long_prefill_token_threshold {values['long_prefill_token_threshold']} is more than "
            f"max_model_len {longest}; lower it"
        )
