"""Step times of a replica that is slower than it should be."""

from sim.latency.protocol import StepTime, StepTimer
from sim.models.shape import BatchShape


class SlowedTimer:
    """Collectives take `links` times as long as `timer` says, and whole steps then `steps` times."""

    __slots__ = ("_links", "_steps", "_timer")

    def __init__(self, timer: StepTimer, steps: float, links: float) -> None:
        self._timer = timer
        self._steps = steps
        self._links = links

    def step(self, shape: BatchShape) -> StepTime:
        """The time of one forward pass."""
        return self._slow(self._timer.step(shape))

    def decode_run(self, decodes: int, context_tokens: int, steps: int, *seen: int) -> tuple[list[float], StepTime]:
        """Durations of `steps` pure-decode steps in a row; equal to `step` bit for bit."""
        times_s, first = self._timer.decode_run(decodes, context_tokens, steps, *seen)
        more_s = first.comm_s * (self._links - 1.0)
        return [(time_s + more_s) * self._steps for time_s in times_s], self._slow(first)

    def _slow(self, time: StepTime) -> StepTime:
        more_s = time.comm_s * (self._links - 1.0)
        time = time._replace(total_s=time.total_s + more_s, comm_s=time.comm_s + more_s)
        scaled = {name: part * self._steps for name, part in time._asdict().items() if not isinstance(part, bool)}
        return time._replace(**scaled)
