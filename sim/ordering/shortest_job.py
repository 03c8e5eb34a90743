"""Shortest job first, by what is known or guessed of its length."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sim.request import Request


@dataclass(frozen=True)
class ShortestJob:
    """The request with the least work ahead first: predicted answer tokens still to come, then arrival.

    `prompt_weight` counts a prompt token as so many answer tokens (a decode step takes far longer than its
    share of a prefill, so the default is 0). How good the predictions are is the workload's
    `prediction_error`, or a trace's column predicted_tokens. A running request is never interrupted for a
    shorter one; for blocks, the longest is preempted first.
    """

    prompt_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """What a prompt token counts beside a predicted answer token. E.g. `0.1`."""

    def key(self, request: Request) -> tuple[float, ...]:
        """Order by work ahead, then arrival, then id."""
        answer = max(request.predicted_tokens - request.generated_tokens, 0)
        return (answer + self.prompt_weight * request.prompt_tokens, request.arrival_s, request.id)

    def victim(self, running: list[Request]) -> Request:
        """The one with the most work ahead."""
        return max(running, key=self.key)
