"""Many scenarios at once: a grid or a search over keys, kept as they come, and what is best of them."""

from sim.insight.sweeps.points import Sweep, sweep

__all__ = ["Sweep", "sweep"]
