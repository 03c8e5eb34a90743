"""Nobody comes in who would wait too long for an answer."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from sim.admission import Admits, Door
from sim.quantity import Seconds
from sim.request import Request
from sim.routing._outlook import ttft_s


@dataclass(frozen=True)
class PredictedTtft:
    """Refuses a request if no replica is predicted to give its first token `within` that time from now.

    For the prediction see `sim/routing/_outlook.py`. While no replica takes requests nothing can be predicted, and
    all come in. Source: the idea of Mooncake's early rejection, which predicts the load of a pool in place of TTFT.
    """

    knows_caches: ClassVar[bool] = True

    within: Annotated[Seconds, Field(gt=0)]
    """The latest predicted first token, from now. E.g. `2s`."""

    def start(self, door: Door) -> Admits:
        """A judge that predicts for one replica after another, until one is good enough."""
        members = door.candidates.members

        def admits(request: Request, _now_s: float) -> bool:
            return not members or any(ttft_s(replica, request) <= self.within for replica in members)

        return admits
