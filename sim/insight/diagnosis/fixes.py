"""What can really be done about each bottleneck: lines for the scenario. A new fix is one line in its function."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sim import hardware, models, preset
from sim.choice import name_of
from sim.errors import ServecastError
from sim.insight.diagnosis.change import (
    BATCHING,
    ENGINE,
    IDLE,
    KV_MEMORY,
    LATENCY,
    SCHEDULING,
    SINGLE_NODE,
    Change,
)
from sim.resolve import Cluster, Setup

_SEATS = (32, 64, 128, 256, 512, 1024)
_BUDGETS = (512, 1024, 2048, 4096, 8192, 16384)
_NAIVE = ("naive-static", "reference")
"""Presets that nobody would switch to."""


def fixes(bottleneck: str, cluster: Cluster) -> list[Change]:
    """Everything worth trying against one bottleneck; what changes nothing is left out."""
    made = [
        Change(label, bottleneck, keys, bottleneck in (SINGLE_NODE, IDLE) or label.startswith(("GPU ", "GPUs ")))
        for label, keys in _OF[bottleneck](cluster)
    ]
    return [change for change in made if not _already(change.keys, cluster.scenario.written())]


Made = Iterator[tuple[str, Mapping[str, Any]]]


def _batching(cluster: Cluster) -> Made:
    engine = _first(cluster).scenario.engine
    if name_of(engine.batching) != "vllm_v1":
        yield "continuous batching", {"engine": {"batching": "vllm_v1", "enable_chunked_prefill": True}}
    yield from _seats(cluster, more=True)
    yield from _budgets(cluster)


def _idle(cluster: Cluster) -> Made:
    for name, setup in cluster.pools.items():
        now = setup.scenario.cluster.replicas
        for fewer in sorted({max(1, now * eighths // 8) for eighths in range(1, 8)} - {now}):
            yield f"{fewer} replicas in place of {now}{_in(name)}", _placed(name, replicas=fewer)
        price = setup.price_usd_per_gpu_hour
        for gpu in _gpus():
            if price is not None and gpu.price_usd_per_hour is not None and gpu.price_usd_per_hour < price:
                yield f"GPU {gpu.name}{_in(name)}", _placed(name, **_kind(setup, gpu))


def _kv_memory(cluster: Cluster) -> Made:
    engine: Any = _first(cluster).scenario.engine
    yield "fp8 KV cache", {"engine": {"kv_cache_dtype": "fp8"}}
    yield "fp8 weights", {"engine": {"quantization": "fp8"}}
    if engine.gpu_memory_utilization < 0.95:
        yield "95% of the GPU's memory", {"engine": {"gpu_memory_utilization": 0.95}}
    if name_of(engine.kv_cache) == "contiguous":
        yield "paged KV memory", {"engine": {"kv_cache": "paged"}}
    if engine.num_gpu_blocks_override is not None:
        yield "all of the GPU's memory", {"engine": {"num_gpu_blocks_override": None}}
    if not engine.enable_prefix_caching and name_of(engine.kv_cache) != "contiguous":
        yield "prefix caching", {"engine": {"enable_prefix_caching": True}}
    yield from _seats(cluster, more=False)
    for name, setup in cluster.pools.items():
        yield from _split(name, setup)
        for gpu in _gpus():
            if gpu.memory_bytes > setup.profile.memory_bytes:
                yield f"GPU {gpu.name}{_in(name)}", _placed(name, **_kind(setup, gpu))


def _latency(cluster: Cluster) -> Made:
    engine: Any = _first(cluster).scenario.engine
    if not engine.enable_chunked_prefill:
        yield "chunked prefill", {"engine": {"enable_chunked_prefill": True}}
    if name_of(engine.batching) != "vllm_v1":
        yield "decodes first, prompts in chunks", {"engine": {"batching": "vllm_v1", "enable_chunked_prefill": True}}
    yield from _budgets(cluster)
    yield from _seats(cluster, more=False)
    for name, setup in cluster.pools.items():
        yield from _split(name, setup)


def _scheduling(cluster: Cluster) -> Made:
    said = cluster.scenario
    yield "shortest answers first", {"engine": {"ordering": "shortest_job"}}
    yield "aged priorities", {"engine": {"ordering": "aged_priority"}}
    yield "first come, first served", {"engine": {"ordering": "fcfs"}}
    if sum(setup.scenario.cluster.replicas for setup in cluster.pools.values()) > 1:
        yield "the least loaded replica", {"cluster": {"router": "least_outstanding"}}
    if said.slo.ttft is not None:
        deadline = f"{said.slo.ttft:g}s"
        yield "earliest deadline first", {"engine": {"ordering": {"earliest_deadline": {"within": deadline}}}}


def _single_node(cluster: Cluster) -> Made:
    for name, setup in cluster.pools.items():
        now = setup.scenario.cluster.replicas
        for more in sorted({now + 1, now + max(1, now // 2), 2 * now}):
            yield f"{more} replicas in place of {now}{_in(name)}", _placed(name, replicas=more)
        yield from _split(name, setup)
        for gpu in _gpus():
            if gpu.memory_bandwidth_bytes_per_s > setup.profile.memory_bandwidth_bytes_per_s:
                yield f"GPU {gpu.name}{_in(name)}", _placed(name, **_kind(setup, gpu))


def _engine(cluster: Cluster) -> Made:
    now = _first(cluster).scenario.engine
    for name in preset.names():
        if name not in _NAIVE and name != now.preset:
            yield f"engine {name}", {"engine": {"preset": name}}
    if not now.async_scheduling:
        yield "asynchronous scheduling", {"engine": {"async_scheduling": True}}


_OF: dict[str, Callable[[Cluster], Made]] = {
    BATCHING: _batching,
    IDLE: _idle,
    KV_MEMORY: _kv_memory,
    LATENCY: _latency,
    SCHEDULING: _scheduling,
    SINGLE_NODE: _single_node,
    ENGINE: _engine,
}


def _first(cluster: Cluster) -> Setup:
    return next(iter(cluster.pools.values()))


def _in(pool: str) -> str:
    return f" in pool {pool}" if pool else ""


def _placed(pool: str, **keys: Any) -> dict[str, Any]:
    return {"cluster": {"pools": {pool: keys}} if pool else keys}


def _kind(setup: Setup, gpu: hardware.Profile) -> dict[str, Any]:
    """Another kind of GPU, at its own price: one that the scenario gives is that of its own kind."""
    given = setup.scenario.cluster.gpu_price_per_hour
    return {"gpu": gpu.name} if given is None else {"gpu": gpu.name, "gpu_price_per_hour": None}


def _gpus() -> list[hardware.Profile]:
    return [hardware.load(name) for name in hardware.names()]


def _split(pool: str, setup: Setup) -> Made:
    """Twice the GPUs under each replica, where the model can be split so."""
    twice = 2 * setup.scenario.cluster.tensor_parallel
    try:
        models.load(setup.model.name).check_tp(twice)
    except ServecastError:
        return
    yield f"GPUs {twice} for each replica{_in(pool)}", _placed(pool, tensor_parallel=twice)


def _seats(cluster: Cluster, more: bool) -> Made:
    engine: Any = _first(cluster).scenario.engine
    for seats in _SEATS:
        if seats != engine.max_num_seqs and (seats > engine.max_num_seqs) == more:
            keys: dict[str, Any] = {"max_num_seqs": seats}
            if engine.max_num_batched_tokens < seats:
                keys["max_num_batched_tokens"] = seats
            yield f"{seats} seats in place of {engine.max_num_seqs}", {"engine": keys}


def _budgets(cluster: Cluster) -> Made:
    engine: Any = _first(cluster).scenario.engine
    for budget in _BUDGETS:
        if budget != engine.max_num_batched_tokens and budget >= engine.max_num_seqs:
            yield f"steps of {budget} tokens", {"engine": {"max_num_batched_tokens": budget}}


def _already(keys: Mapping[str, Any], written: Any) -> bool:
    """Whether the scenario says all of this."""
    if not isinstance(written, Mapping):
        return False
    return all(
        _already(value, written.get(key)) if isinstance(value, Mapping) else written.get(key) == value
        for key, value in keys.items()
    )
