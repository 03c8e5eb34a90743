"""What one request meets when nothing else runs: no number of replicas is faster than that."""

from __future__ import annotations

from sim.errors import ScenarioError
from sim.insight.search import own_rate
from sim.scenario import Scenario

_GAP_S = 1e4
"""Mean time between requests (or sessions) that hardly ever meet."""


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
