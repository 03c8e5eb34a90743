"""Which engine serves a scenario: plain or speculative, of a model whose layers see all or only a window."""

from dataclasses import replace
from typing import Any

from sim import choice
from sim.batching.vllm_v1 import VllmV1
from sim.engine import Engine, EngineLimits
from sim.engine.speculating import Speculation, SpeculativeEngine
from sim.engine.windowed import WindowedEngine, WindowedSpeculativeEngine
from sim.kvcache.paged import Paged
from sim.kvcache.protocol import KVCacheChoice
from sim.models import Model
from sim.sections import Engine as Section
from sim.streams import stream


def make_engine(limits: EngineLimits, engine: Section, kv_cache: KVCacheChoice, window: int, seed: int) -> Engine:
    """A fresh engine for one replica, of a resolved section; window: what some layers see, 0 without such layers."""
    given: Any = engine  # resolved: no choice is None
    more: dict[str, Any] = {"kv_cache": kv_cache, **({"window": window} if window else {})}
    speculative = engine.speculative
    if speculative is None:
        plain = WindowedEngine if window else Engine
        return plain(limits, given.batching, given.ordering, **more)
    more["speculation"] = Speculation(
        speculative.num_speculative_tokens,
        speculative.acceptance_rate,
        int(stream(seed, "speculation").integers(1 << 62)),
    )
    speculating = WindowedSpeculativeEngine if window else SpeculativeEngine
    return speculating(limits, given.batching, given.ordering, **more)


def hybrid_in_flight_tokens(values: dict[str, Any], draft: Model | None) -> int | None:
    """Most tokens in flight for an engine that frees what leaves sliding windows; None for one that keeps it.

    values: the engine's settings, none open. Only vLLM V1's batching with a paged cache frees it, and not beside one
    that moves blocks to other memory or a draft model's: other engines reckon with whole contexts.
    """
    moves = values["kv_offload"] is not None or values["preemption"] == "swap"
    paged = isinstance(choice.build("sim.kvcache", values["kv_cache"]), Paged)
    vllms = isinstance(choice.build("sim.batching", values["batching"]), VllmV1)
    if values["disable_hybrid_kv_cache_manager"] or moves or draft is not None or not (paged and vllms):
        return None
    batches = 2 if values["async_scheduling"] else 1
    return batches * int(values["max_num_batched_tokens"])


def without_windows(model: Model, beside: str) -> Model:
    """The model with all layers attending to the whole context, and a note of it, if any sees a window only."""
    if not model.sliding_layers:
        return model
    note = (
        f"the windows of {model.sliding_layers} of {model.layers} layers of {model.name} are not modelled {beside}: "
        "they are charged attention and KV memory over the whole context, an upper bound"
    )
    return replace(model, sliding_layers=0, notes=(*model.notes, note))
