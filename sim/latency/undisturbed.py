"""What step times would be if prefills and decodes did not disturb each other: a bound, not a GPU."""

from dataclasses import dataclass

from sim.latency.profile import Profile
from sim.latency.protocol import StepTime, StepTimer, TimerContext
from sim.models.shape import BatchShape


@dataclass(frozen=True)
class Undisturbed:
    """The GPU's profile, but a step's prefills and decodes run side by side, each as fast as it would alone.

    No GPU does that: it is what splitting them over separate GPUs could gain at most, without the second GPU's price.
    """

    def build(self, context: TimerContext) -> "UndisturbedTimer":
        """The timer of one replica; raises what the profile's raises."""
        return UndisturbedTimer(Profile().build(context))


class UndisturbedTimer:
    """Asks the inner timer for both halves of a mixed step; the longer one counts."""

    __slots__ = ("_inner", "decode_run")

    def __init__(self, inner: StepTimer) -> None:
        self._inner = inner
        self.decode_run = inner.decode_run

    def step(self, shape: BatchShape) -> StepTime:
        """The time of one forward pass."""
        if not shape.prefills or not shape.decodes:
            return self._inner.step(shape)
        prompts = BatchShape(shape.prefills, 0, 0, shape.sampled - shape.decodes)
        answers = BatchShape((), shape.decodes, shape.decode_context_tokens, shape.decodes)
        return max(self._inner.step(prompts), self._inner.step(answers))
