"""Answers that take several runs, or a real one beside the simulated."""

from sim.insight.comparison import Comparison, compare
from sim.insight.diagnosis import Diagnosis, diagnose
from sim.insight.search import Capacity, capacity

__all__ = ["Capacity", "Comparison", "Diagnosis", "capacity", "compare", "diagnose"]
