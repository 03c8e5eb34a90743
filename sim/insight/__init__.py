"""Answers that take several runs, or a real one beside the simulated."""

from sim.insight.comparison import Comparison, compare

__all__ = ["Comparison", "compare"]
