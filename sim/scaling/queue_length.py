"""Requests that wait, per replica."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sim.scaling import Decide, Knowledge
from sim.scaling._proportional import proportional


@dataclass(frozen=True)
class QueueLength:
    """`target` waiting requests for each replica."""

    target: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Waiting requests wanted for each replica."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Nothing changes while the ratio to the target is within 1 ± this."""

    def start(self, known: Knowledge) -> Decide:
        """A decider without memory."""
        return lambda seen: proportional(seen, seen.waiting, self.target, self.tolerance)
