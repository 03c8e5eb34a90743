"""The engine of one replica: what it schedules, who waits, who decodes, and its variants.

`core` has the engine; `policies` what decides for it and what bounds it; `plan` what a step computes. The variants each
change some rules of the core: `speculating` (drafts), `pipelining` (several steps under way), `adapting` (LoRA),
`handing_over` (KV that goes to or comes from another replica), `windowed` (layers that see a window).
"""

from sim.engine.core import Engine
from sim.engine.policies import Batching, EngineLimits, Ordering, QueueOrdering

__all__ = ["Batching", "Engine", "EngineLimits", "Ordering", "QueueOrdering"]
