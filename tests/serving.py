"""Small helpers for tests that serve requests: an engine, a table, a run."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sim.batching.vllm_v1 import VllmV1
from sim.cluster.adapter_costs import AdapterCosts
from sim.cluster.pool import Pool
from sim.cluster.simulate import simulate
from sim.engine import Batching, Engine, EngineLimits, Ordering, QueueOrdering
from sim.engine.adapterslots import AdapterRoom
from sim.engine.adapting import LoraEngine
from sim.engine.plan import StepPlan
from sim.engine.windowed import WindowedEngine
from sim.kvcache.paged import Paged
from sim.kvcache.protocol import KVCacheChoice
from sim.latency import StepTimer
from sim.latency.linear import LinearTimer
from sim.ordering.fcfs import Fcfs
from sim.record import Record
from sim.request import Request
from sim.routing import Router
from sim.routing.round_robin import RoundRobin
from sim.workload.table import ClosedLoop, RequestTable


def engine(
    ordering: Ordering | QueueOrdering | None = None, group_decodes: bool = True, batching: Batching | None = None,
    kv_cache: KVCacheChoice | None = None, lora: AdapterRoom | None = None, window: int = 0, **limits: Any,
) -> Engine:  # fmt: skip
    """An engine with plenty of memory, and vLLM's batching, unless told otherwise."""
    limits = {"num_gpu_blocks": 10_001, "max_model_len": 4096, **limits}
    parts = (EngineLimits(**limits), batching or VllmV1(), ordering or Fcfs(), group_decodes, kv_cache or Paged())
    if lora is not None:
        return LoraEngine(*parts, room=lora)
    return WindowedEngine(*parts, window=window) if window else Engine(*parts)


def serve(
    table: RequestTable, timer: StepTimer, *, replicas: int = 1, router: Router | None = None,
    ordering: Ordering | QueueOrdering | None = None, batching: Batching | None = None,
    group_decodes: bool = True, kv_cache: KVCacheChoice | None = None, fast_forward: bool = True, seed: int = 0,
    limits: dict[str, Any] | None = None, lora: tuple[AdapterRoom, AdapterCosts] | None = None, window: int = 0,
    **options: Any,
) -> Record:  # fmt: skip
    """Simulate a table on equal replicas; options are of `Pool` or of `simulate`."""
    pool = {name: options.pop(name) for name in Pool.__dataclass_fields__ if name in options}
    room, costs = lora or (None, None)

    def make() -> Engine:
        return engine(ordering, group_decodes, batching, kv_cache, room, window, **(limits or {}))

    return simulate(
        table,
        [Pool(make, timer, replicas=replicas, adapter_costs=costs, **pool)],
        router=router or RoundRobin(),
        seed=seed,
        fast_forward=fast_forward,
        **options,
    )


def steps_of(engine: Engine, requests: list[Request], most: int = 10_000) -> list[StepPlan]:
    """Add all requests at once and run the engine by hand until it is idle."""
    for request in requests:
        engine.add(request)
    plans = []
    while not engine.is_idle and len(plans) < most:
        plan = engine.schedule()
        plans.append(plan)
        engine.complete(plan)
        engine.check()
    return plans


def table(arrival_s: ArrayLike, prompt_tokens: ArrayLike, output_tokens: ArrayLike, **columns: Any) -> RequestTable:
    """A request table whose scalar columns are repeated."""
    arrival_s = np.asarray(arrival_s, float)
    return RequestTable.of(
        arrival_s,
        np.broadcast_to(prompt_tokens, arrival_s.shape),
        np.broadcast_to(output_tokens, arrival_s.shape),
        **columns,
    )


__all__ = ["ClosedLoop", "LinearTimer", "engine", "serve", "steps_of", "table"]
