"""The time of steps in which drafts are made besides."""

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from sim.latency.protocol import StepTime, StepTimer
from sim.models.shape import BatchShape


class Drafter(Protocol):
    """What makes the drafts for the next step."""

    def step(self, shape: BatchShape) -> StepTime:
        """The time that drafting adds to a step of the model."""
        ...


@dataclass(frozen=True)
class FlatDrafter:
    """A draft takes the same time whatever the batch: a small head, or n-gram look-up with 0 s."""

    token_s: float
    num_speculative_tokens: int

    def step(self, shape: BatchShape) -> StepTime:
        """`num_speculative_tokens` times `token_s`, if anybody drafts."""
        return StepTime(self.token_s * self.num_speculative_tokens if shape.outputs else 0.0, 0.0, 0.0, 0.0, False)


class ModelDrafter(NamedTuple):
    """A draft model of its own, as vLLM runs it.

    Its first pass computes the same tokens as the model's step, for its own KV cache, and yields the first
    draft of every request; each further draft is a decode step of those requests.
    """

    timer: StepTimer
    num_speculative_tokens: int

    def step(self, shape: BatchShape) -> StepTime:
        """One pass over the step's tokens, and a decode step for each draft but the first."""
        first = self.timer.step(replace(shape, sampled=shape.outputs))
        if not shape.outputs or self.num_speculative_tokens == 1:
            return first
        again = self.timer.step(BatchShape((), shape.outputs, shape.output_context_tokens, shape.outputs))
        return _sum(first, again, self.num_speculative_tokens - 1, shape.output_context_tokens)


class DraftingTimer:
    """A step of the model, then that of the drafter."""

    def __init__(self, timer: StepTimer, drafter: Drafter) -> None:
        self._timer = timer
        self._drafter = drafter

    def step(self, shape: BatchShape) -> StepTime:
        """The time of one forward pass and of the drafts that follow it."""
        return _sum(self._timer.step(shape), self._drafter.step(shape), 1, shape.decode_context_tokens)

    def decode_run(self, decodes: int, context_tokens: int, steps: int) -> tuple[list[float], StepTime]:
        """Not asked for: with speculation every step is its own."""
        raise NotImplementedError("speculative steps are simulated one by one")


def _sum(first: StepTime, other: StepTime, times: int, context_tokens: int) -> StepTime:
    """The first, then the other so many times, whose decodes attend to that context."""
    return StepTime(
        first.total_s + times * other.total_s,
        first.host_s + times * other.exposed_host_s(context_tokens),
        first.comm_s + times * other.comm_s,
        first.padding_s + times * other.padding_s,
        first.extrapolated or other.extrapolated,
        first.host_per_context_s,
    )
