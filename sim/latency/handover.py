"""What ranks ask of whoever carries their tokens to the experts and back; see sim/alltoall."""

from dataclasses import dataclass
from typing import Protocol

from sim.hardware import Profile


@dataclass(frozen=True)
class Exchange:
    """Who exchanges what: every token of `hidden` numbers goes to `picks` of the experts on `ranks` GPUs.

    dispatch_bytes, combine_bytes: of one number on the way there and back.
    """

    profile: Profile
    hidden: int
    picks: int
    ranks: int
    dispatch_bytes: float
    combine_bytes: float


class AllToAll(Protocol):
    """One way to exchange tokens."""

    def seconds(self, exchange: Exchange, total: int, most: int) -> float:
        """Dispatch and combine of `total` tokens, of which the GPU with the most has `most`."""
