"""How long a forward pass takes: `profile` (from a GPU's profile) or `linear` (a formula)."""

from sim.latency.protocol import EngineTiming, StepTime, StepTimer, TimerContext, default_cudagraph_sizes

__all__ = ["EngineTiming", "StepTime", "StepTimer", "TimerContext", "default_cudagraph_sizes"]
