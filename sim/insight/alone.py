"""What one request meets when nothing else runs: no number of replicas is faster than that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sim.errors import ScenarioError
from sim.insight.limits import Limit
from sim.insight.search import own_rate
from sim.report.words import number, percent, tick
from sim.scenario import Scenario

_GAP_S = 1e4
"""Mean time between requests (or sessions) that hardly ever meet."""
_APART = 1.05
"""Mean batch of requests that are alone, but for the few of a trace that come at one and the same time."""
_LATENCIES = ("ttft", "tpot", "itl", "e2el")


def served_alone(scenario: Scenario) -> Scenario | None:
    """The scenario with the same requests, so far apart that they do not meet, on one replica.

    None where something goes on by the clock for all that time, or requests have no rate.
    """
    cluster = scenario.cluster
    if cluster.pools or cluster.faults or cluster.autoscaling is not None:
        return None
    try:
        load = 1 / (own_rate(scenario) * _GAP_S)
    except ScenarioError:
        return None
    changes = {"workload": scenario.workload.model_copy(update={"load": load})}
    return scenario.model_copy(update=changes | {"cluster": cluster.model_copy(update={"replicas": 1})})


def missed_alone(summary: Mapping[str, Any], limits: Sequence[Limit], attainment: float) -> str:
    """Which target a run of `served_alone` misses, in words; "" if none."""
    alone = (summary["batch_size_mean"] or 0.0) < _APART
    met = summary["slo_attainment"] or {}
    if met and met["all"] is not None and met["all"] < attainment:
        name, share = min(((key, met[key]) for key in _LATENCIES if met.get(key) is not None), key=lambda one: one[1])
        target = (summary["slo"] or {}).get(f"{name}_ms")
        asked = f"{name} <= {tick(target / 1e3, seconds=True)}" if target is not None else f"its {name} target"
        if not share:
            return f"even one request alone misses {asked}"
        if share >= attainment:
            asked, share = "all targets", met["all"]
        return f"{'even served alone' if alone else 'even at next to no load'}, only {percent(share)} meet {asked}"
    for limit in limits:
        value = summary.get(limit.metric)
        latency = limit.sign == "<=" and limit.metric.endswith(tuple(f"_{name}_ms" for name in _LATENCIES))
        if latency and value is not None and not limit.holds(value):
            how = "even served alone, requests break" if alone else "even next to no load breaks"
            return f"{how} {limit} ({number(value)})"
    return ""
