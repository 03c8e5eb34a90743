"""A step time that is linear in what the step holds: for theory, teaching and lock-step tests."""

from dataclasses import dataclass

from sim.latency.protocol import StepTime, TimerContext
from sim.models.shape import BatchShape
from sim.quantity import Seconds


@dataclass(frozen=True)
class Linear:
    """total = base_s + per_prefill_token_s * new + per_decode_s * decodes + per_context_token_s * context.

    new: prompt tokens computed in the step; context: KV tokens that every scheduled request holds after it,
    summed. The model and the GPU play no part.
    """

    base_s: Seconds = 5e-3
    """Time of any step."""
    per_prefill_token_s: Seconds = 3e-5
    """Time for each prompt token computed."""
    per_decode_s: Seconds = 1e-4
    """Time for each decoding request."""
    per_context_token_s: Seconds = 0.0
    """Time for each KV token that the scheduled requests hold. E.g. `10ns`."""

    def __post_init__(self) -> None:
        if self.base_s <= 0 and not (self.per_prefill_token_s > 0 and self.per_decode_s > 0):
            raise ValueError("a step must take time: set base_s, or per_prefill_token_s and per_decode_s")

    def build(self, context: TimerContext | None = None) -> "LinearTimer":
        """The timer; the context is not used."""
        return LinearTimer(self)


class LinearTimer:
    """Evaluates the formula, always in the same order of operations."""

    __slots__ = ("_base", "_per_context", "_per_decode", "_per_prefill")

    def __init__(self, law: Linear) -> None:
        self._base = float(law.base_s)
        self._per_prefill = float(law.per_prefill_token_s)
        self._per_decode = float(law.per_decode_s)
        self._per_context = float(law.per_context_token_s)

    def step(self, shape: BatchShape) -> StepTime:
        """The time of one forward pass; all of it counts as computation, or as the host's if nothing is computed."""
        if not shape.prefills and not shape.decodes:  # everything was preempted
            return StepTime(self._base, self._base, 0.0, 0.0, False)
        new = context = 0
        for chunk, before in shape.prefills:
            new += chunk
            context += chunk + before
        context += shape.decode_context_tokens
        fixed = (self._base + self._per_prefill * new) + self._per_decode * shape.decodes
        return StepTime(fixed + self._per_context * context, 0.0, 0.0, 0.0, False)

    def decode_run(self, decodes: int, context_tokens: int, steps: int, *_seen: int) -> tuple[list[float], StepTime]:
        """Durations of `steps` pure-decode steps in a row; equal to `step` bit for bit."""
        fixed = (self._base + self._per_prefill * 0) + self._per_decode * decodes
        slope = self._per_context
        first = StepTime(fixed + slope * context_tokens, 0.0, 0.0, 0.0, False)
        if slope == 0.0:
            return [first.total_s] * steps, first
        contexts = range(context_tokens, context_tokens + steps * decodes, decodes)
        return [fixed + slope * context for context in contexts], first
