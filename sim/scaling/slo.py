"""The share of requests that meet the SLO."""

from dataclasses import dataclass
from math import ceil
from typing import Annotated

from pydantic import Field

from sim.errors import ScenarioError
from sim.scaling import Decide, Knowledge, Seen


@dataclass(frozen=True)
class Slo:
    """More replicas when less than `attainment` of the first tokens or answers since the last look met their target.

    Then a share of `step` of the replicas is added, at least one, unless as many are on their way. One goes when as
    many would have met targets of `headroom` times these. TTFT and TPOT targets are the scenario's. How busy replicas
    are plays no part: a step takes nearly as long for one request as for ten. The rule is this project's own;
    autoscalers of the kind (Dynamo's planner) predict as well.
    """

    attainment: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Share of first tokens and answers that should meet their target."""
    step: Annotated[float, Field(gt=0, le=10)] = 0.25
    """Share of the replicas that is added at once."""
    headroom: Annotated[float, Field(gt=0, le=1)] = 0.75
    """One goes when as many would have met targets of so many times these."""

    def start(self, known: Knowledge) -> Decide:
        """A decider without memory."""
        if known.ttft_s is None and known.tpot_s is None:
            raise ScenarioError("scaling by slo needs a target: set slo.ttft or slo.tpot")

        def met(seen: Seen, margin: float) -> bool:
            for times_s, target_s in ((seen.ttft_s, known.ttft_s), (seen.tpot_s, known.tpot_s)):
                if target_s is not None:
                    enough = self.attainment * len(times_s)
                    if sum(time_s <= margin * target_s for time_s in times_s) < enough:
                        return False
            return True

        def decide(seen: Seen) -> int | None:
            there = seen.ready + seen.coming
            if not seen.ready:
                return max(there, 1 if seen.in_flight else 0)
            if not met(seen, 1.0):
                return max(there, seen.ready + ceil(self.step * seen.ready))
            if not seen.in_flight:
                return 0
            if (seen.ttft_s or seen.tpot_s) and met(seen, self.headroom):
                return there - 1
            return None

        return decide
