"""Least slack first: who can least afford to wait."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sim.ordering._deadlines import Within, deadline_s
from sim.quantity import Seconds
from sim.request import Request


@dataclass(frozen=True)
class LeastSlack:
    """The request whose deadline leaves the least time beyond the work that it still needs.

    Slack at time t = arrival + within - t - work, work = prompt tokens * prefill_token + predicted answer
    tokens still to come * token, in seconds. It falls for all that wait alike, so that their order is that of
    arrival + within - work. `within` is the SLO on E2E, for all or by priority; `token` is about the TPOT. The
    one with the most slack is preempted first.
    """

    within: Within
    """SLO on E2E, for all or by priority. E.g. `{0: 10s, other: 60s}`."""
    token: Annotated[Seconds, Field(gt=0)]
    """Time of one output token, about the TPOT. E.g. `20ms`."""
    prefill_token: Annotated[Seconds, Field(ge=0)] = 0.0
    """Time of one prompt token. E.g. `50us`."""

    def key(self, request: Request) -> tuple[float, ...]:
        """Order by the latest time to begin, then arrival, then id."""
        answer = max(request.predicted_tokens - request.generated_tokens, 0)
        work_s = request.prompt_tokens * self.prefill_token + answer * self.token
        return (deadline_s(request, self.within) - work_s, request.arrival_s, request.id)

    def victim(self, running: list[Request]) -> Request:
        """The one with the most slack."""
        return max(running, key=self.key)
