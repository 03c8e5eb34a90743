"""What a scenario says that changes nothing, given all else that it says: to be told, not refused."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from sim import preset
from sim.choice import name_of
from sim.resolve.cluster import Cluster
from sim.resolve.setup import Setup
from sim.scenario import Scenario
from sim.sections import Cluster as Said
from sim.workload.arrivals.closed_loop import ClosedLoop
from sim.workload.table import RequestTable

_BY_PRIORITY = ("priority", "aged_priority", "earliest_deadline", "least_slack")
_BY_PREDICTION = (
    "shortest_job",
    "least_slack",
    "length_buckets",
    "least_outstanding_tokens",
    "length_split",
    "slo_aware",
)


def without_effect(scenario: Scenario, cluster: Cluster, table: RequestTable) -> Iterator[str]:
    """One sentence for each key of `scenario`, as written, that has no effect on its requests."""
    for name, setup in cluster.pools.items():
        engine = scenario.single(name).engine if name else scenario.engine
        yield from _of_engine(f"pools.{name}.engine" if name else "engine", engine, setup)
        placed = setup.scenario.cluster
        if placed.overlap_communication and placed.tensor_parallel == 1:
            place = f"pools.{name}" if name else "cluster"
            yield f"{place}.overlap_communication has no effect: with tensor_parallel 1 there are no collectives"
    yield from _of_cluster(scenario.cluster, scenario.workload.retries is not None)
    yield from _of_workload(scenario.workload.arrivals, table)
    deciders = [*(setup.scenario.engine.ordering for setup in cluster.pools.values()), scenario.cluster.router]
    names = [name_of(decider) for decider in deciders]
    if any(":" in name for name in names):
        return  # own code may look at anything
    orders = ", ".join(dict.fromkeys(names[:-1]))
    kinds = len(np.unique(table.priority))
    if kinds > 1 and not set(names) & {*_BY_PRIORITY}:
        yield f"requests have {kinds} priorities, which engine.ordering {orders} does not look at: set priority there"
    if scenario.workload.prediction_error and not scenario.cluster.admission and not set(names) & {*_BY_PREDICTION}:
        yield f"workload.prediction_error has no effect: nothing here looks at predicted lengths ({', '.join(names)})"


def _of_engine(place: str, engine: Any, setup: Setup) -> Iterator[str]:
    resolved = setup.scenario.engine
    defaults = preset.load(resolved.preset or preset.DEFAULT).defaults(setup.profile.name, setup.profile.memory_bytes)

    def changed(key: str) -> bool:
        return getattr(engine, key) not in (None, defaults.get(key))

    if changed("gpu_memory_utilization") and engine.num_gpu_blocks_override is not None:
        yield f"{place}.gpu_memory_utilization has no effect: num_gpu_blocks_override says how many KV blocks there are"
    if changed("moe_first_use_s") and not setup.model.experts:
        yield f"{place}.moe_first_use_s has no effect: {setup.model.name} has no experts"
    if changed("uncompiled_launch_s") and not resolved.enforce_eager:
        yield f"{place}.uncompiled_launch_s has no effect without enforce_eager"
    if changed("eager_launch_s") and resolved.enforce_eager:
        yield f"{place}.eager_launch_s has no effect with enforce_eager, whose launches are uncompiled_launch_s"


def _of_cluster(said: Said, retries: bool) -> Iterator[str]:
    fields = type(said).model_fields
    comes_and_goes = bool(said.faults) or said.autoscaling is not None
    comes_and_goes |= any(pool.autoscaling is not None for pool in said.pools.values())
    for key in ("on_crash", "max_requeues"):
        if not said.faults and getattr(said, key) != fields[key].default:
            yield f"cluster.{key} has no effect: no replica crashes; give cluster.faults"
    for key in ("cold_start", "max_gateway_queue"):
        if not comes_and_goes and getattr(said, key) != fields[key].default:
            yield f"cluster.{key} has no effect: replicas neither start nor go; give cluster.autoscaling or faults"
    if said.router_staleness and not (said.pools or said.autoscaling or said.replicas > 1 or said.data_parallel > 1):
        yield "cluster.router_staleness has no effect: there is one replica, and nothing to choose"
    if retries and not (comes_and_goes or said.admission):
        yield "workload.retries has no effect: nobody is turned away; give cluster.admission, faults or autoscaling"


def _of_workload(arrivals: Any, table: RequestTable) -> Iterator[str]:
    if not isinstance(arrivals, ClosedLoop):
        return
    if arrivals.users > len(table):
        yield (
            f"closed_loop has {arrivals.users:,} users for {len(table):,} requests: each sends one at the start, or "
            "none, and nobody waits for an answer; give more requests"
        )
    if arrivals.think != type(arrivals).think and not arrivals.think_s:
        yield f"closed_loop's think {arrivals.think} has no effect: think_s is 0"
