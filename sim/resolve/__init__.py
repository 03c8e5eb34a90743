"""From what a scenario says to everything a simulation needs, with every default made explicit."""

from sim.resolve.cluster import Cluster, resolve_cluster
from sim.resolve.one_kind import resolve
from sim.resolve.setup import Setup

__all__ = ["Cluster", "Setup", "resolve", "resolve_cluster"]
