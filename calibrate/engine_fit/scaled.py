"""A step timer whose GPU time is multiplied by a factor; what the host adds stays."""

from collections.abc import Callable

from sim.latency import StepTime, StepTimer
from sim.models.shape import BatchShape


class ScaledTimer:
    """`scale(rows)` times the GPU's part of each step; `exposed_s` of every step is the host's."""

    def __init__(self, timer: StepTimer, scale: Callable[[int], float], exposed_s: float) -> None:
        self._timer = timer
        self._scale = scale
        self._exposed_s = exposed_s

    def step(self, shape: BatchShape) -> StepTime:
        """The time of one forward pass."""
        factor = self._scale(shape.tokens)
        time = self._timer.step(shape)
        return time._replace(total_s=self._scaled(time.total_s, factor), comm_s=time.comm_s * factor)

    def decode_run(self, decodes: int, context_tokens: int, steps: int) -> tuple[list[float], StepTime]:
        """Durations of pure-decode steps in a row."""
        factor = self._scale(decodes)
        durations, first = self._timer.decode_run(decodes, context_tokens, steps)
        first = first._replace(total_s=self._scaled(first.total_s, factor), comm_s=first.comm_s * factor)
        return [self._scaled(duration, factor) for duration in durations], first

    def _scaled(self, total_s: float, factor: float) -> float:
        gpu_s = max(total_s - self._exposed_s, 0.0)
        return total_s + gpu_s * (factor - 1.0)
