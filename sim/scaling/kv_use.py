"""KV memory in use."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sim.scaling import Decide, Knowledge
from sim.scaling._proportional import proportional


@dataclass(frozen=True)
class KvUse:
    """`target` is the share of the KV memory that should be in use."""

    target: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of the KV memory that should be in use."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Nothing changes while the ratio to the target is within 1 ± this."""

    def start(self, known: Knowledge) -> Decide:
        """A decider without memory."""
        return lambda seen: proportional(seen, seen.kv_used, self.target, self.tolerance)
