"""Answers that take several runs, or a real one beside the simulated."""

from sim.insight.comparison import Comparison, compare
from sim.insight.diagnosis import Diagnosis, diagnose
from sim.insight.search import Capacity, capacity
from sim.insight.sizing import Size, size
from sim.insight.sweeps import Sweep, sweep

__all__ = [
    "Capacity", "Comparison", "Diagnosis", "Size", "Sweep", "capacity", "compare", "diagnose", "size", "sweep",
]  # fmt: skip
