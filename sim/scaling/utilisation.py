"""Time in which steps run."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sim.scaling import Decide, Knowledge
from sim.scaling._proportional import proportional


@dataclass(frozen=True)
class Utilisation:
    """`target` is the share of its time that a replica should be busy."""

    target: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Share of its time that a replica should be busy."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Nothing changes while the ratio to the target is within 1 ± this."""

    def start(self, known: Knowledge) -> Decide:
        """A decider without memory."""
        return lambda seen: proportional(seen, seen.busy, self.target, self.tolerance)
