"""The profile's step times, wrong by a factor: what would follow if the calibration were off by so much."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sim.latency.profile import Profile
from sim.latency.protocol import StepTime, StepTimer, TimerContext
from sim.models.shape import BatchShape

Factor = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Off:
    """The GPU's profile, but steps with a prefill take `prefill` times as long, and others `decode` times."""

    prefill: Factor = 1.0
    """Factor on the time of steps with a prefill. E.g. `1.1`."""
    decode: Factor = 1.0
    """Factor on the time of the other steps. E.g. `1.1`."""

    def build(self, context: TimerContext) -> "OffTimer":
        """The timer of one replica; raises what the profile's raises."""
        return OffTimer(Profile().build(context), self.prefill, self.decode)


class OffTimer:
    """Asks the inner timer and multiplies."""

    __slots__ = ("_decode", "_inner", "_prefill")

    def __init__(self, inner: StepTimer, prefill: float, decode: float) -> None:
        self._inner = inner
        self._prefill = prefill
        self._decode = decode

    def step(self, shape: BatchShape) -> StepTime:
        """The time of one forward pass."""
        return _times(self._inner.step(shape), self._prefill if shape.prefills else self._decode)

    def decode_run(self, decodes: int, context_tokens: int, steps: int, *seen: int) -> tuple[list[float], StepTime]:
        """Durations of `steps` pure-decode steps in a row; equal to `step` bit for bit."""
        gaps_s, first = self._inner.decode_run(decodes, context_tokens, steps, *seen)
        factor = self._decode
        return [gap_s * factor for gap_s in gaps_s], _times(first, factor)


def _times(time: StepTime, factor: float) -> StepTime:
    return StepTime(
        time.total_s * factor,
        time.host_s * factor,
        time.comm_s * factor,
        time.padding_s * factor,
        time.extrapolated,
        time.host_per_context_s * factor,
    )
