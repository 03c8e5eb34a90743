"""Prefill and decode pools for tests."""

from typing import Any

from sim.batching.vllm_v1 import VllmV1
from sim.cluster.handover import HandoverRules
from sim.cluster.outlet import Outlet
from sim.cluster.pool import Pool
from sim.cluster.simulate import simulate
from sim.engine import Batching, Ordering
from sim.kvcache.protocol import KVCacheChoice
from sim.latency import StepTimer
from sim.record import Record
from sim.routing import Router
from sim.routing.round_robin import RoundRobin
from sim.workload.table import RequestTable
from tests.serving import engine

BYTES_PER_BLOCK = 1000


def serve_apart(
    table: RequestTable, timer: StepTimer, *, prefill: int = 1, decode: int = 1, rules: HandoverRules | None = None,
    limits: dict[str, Any] | None = None, decode_limits: dict[str, Any] | None = None,
    prefill_outlet: Outlet | None = None, decode_outlet: Outlet | None = None, layers: int = 4,
    batching: Batching | None = None, ordering: Ordering | None = None, kv_cache: KVCacheChoice | None = None,
    prefill_kv_cache: KVCacheChoice | None = None, group_decodes: bool = True, router: Router | None = None,
    seed: int = 0, decode_overhead_s: float = 0.0, pool: dict[str, Any] | None = None, **options: Any,
) -> Record:  # fmt: skip
    """Simulate a table on prefill and decode replicas that are alike; by default links take no time to speak of."""
    both = limits or {}
    pool = pool or {}
    overhead = pool.get("request_overhead_s", 0.0)

    def make(more: dict[str, Any], cache: KVCacheChoice | None) -> Any:
        return lambda: engine(ordering, group_decodes, batching or VllmV1(), cache, **both | more)

    pools = [
        Pool(
            make({}, prefill_kv_cache or kv_cache), timer, "prefill", replicas=prefill, role="prefill",
            outlet=prefill_outlet or Outlet(), **pool,
        ),
        Pool(
            make(decode_limits or {}, kv_cache), timer, "decode", replicas=decode, role="decode",
            outlet=decode_outlet or Outlet(), kv_bytes_per_block=BYTES_PER_BLOCK, layers=layers,
            **pool | {"request_overhead_s": overhead + decode_overhead_s},
        ),
    ]  # fmt: skip
    return simulate(
        table, pools, router=router or RoundRobin(), seed=seed, handover_rules=rules or HandoverRules(), **options
    )
