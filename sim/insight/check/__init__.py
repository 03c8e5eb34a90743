"""Whether a scenario still does what it did: its metrics against a baseline that was written before."""

from sim.insight.check.baseline import Baseline
from sim.insight.check.check import Check, Verdict, check

__all__ = ["Baseline", "Check", "Verdict", "check"]
