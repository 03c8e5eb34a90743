"""How many replicas each pool of a cluster needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sim.errors import ScenarioError
from sim.insight.judge import Judge
from sim.resolve import resolve_cluster
from sim.scenario import Scenario


@dataclass
class PoolSizes:
    """Replicas of each pool that are enough together (none where `why` says so), and how these fare."""

    counts: dict[str, int]
    gpus: int = 0
    usd_per_hour: float | None = None
    profiles: str = ""
    why: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)


def size_pools(scenario: Scenario, judge: Judge, most_gpus: int) -> PoolSizes:
    """Double all pools until they are enough together; then make one after another as small as can be."""
    found = PoolSizes(dict.fromkeys(scenario.cluster.pools, 1))
    broke = ""

    def meets(tried: Mapping[str, int]) -> bool:
        nonlocal broke
        verdict = judge.verdicts([_with(scenario, tried)])[0]
        if verdict.error:
            raise ScenarioError(verdict.error)
        if verdict.broke:
            broke = verdict.told
        else:
            found.values, found.summary = verdict.values, verdict.summary
        return not verdict.broke

    while not meets(found.counts):
        more = {name: 2 * count for name, count in found.counts.items()}
        gpus = resolve_cluster(_with(scenario, more)).gpus
        if gpus > most_gpus:
            return PoolSizes({}, why=f"{gpus // 2} GPUs: {broke}; more than --most-gpus {most_gpus} would be needed")
        found.counts = more
    for name in found.counts:
        fewer, enough = 0, found.counts[name]
        while enough - fewer > 1:
            tried = (fewer + enough) // 2
            if meets({**found.counts, name: tried}):
                enough = tried
            else:
                fewer = tried
        found.counts[name] = enough
    cluster = resolve_cluster(_with(scenario, found.counts))
    found.profiles = " + ".join(dict.fromkeys(setup.profile.name for setup in cluster.pools.values()))
    found.gpus, found.usd_per_hour, found.why = cluster.gpus, cluster.usd_per_hour, f"one fewer in a pool: {broke}"
    if not broke:
        found.why = "one in each pool is enough"
    return found


def _with(scenario: Scenario, counts: Mapping[str, int]) -> Scenario:
    pools = {name: pool.model_copy(update={"replicas": counts[name]}) for name, pool in scenario.cluster.pools.items()}
    return scenario.model_copy(update={"cluster": scenario.cluster.model_copy(update={"pools": pools})})
