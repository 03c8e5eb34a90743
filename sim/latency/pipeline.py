"""A forward pass in stages: what each stage takes, and what lies between them."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from sim.hardware import Profile
from sim.latency.collectives import collective_s, link_between
from sim.latency.protocol import EngineTiming, StepTime, StepTimer
from sim.latency.slowed import SlowedTimer
from sim.models.dtypes import ACTIVATION_BYTES
from sim.models.operations import Operation
from sim.models.shape import BatchShape

_TENSORS_SENT = 2
"""Hidden states and residual. Source: vLLM, the `intermediate_tensors` of its models."""


class Hop(NamedTuple):
    """Handing a batch to the next stage, in seconds."""

    fixed_s: float
    per_token_s: float

    def seconds(self, tokens: int) -> float:
        """The time of a batch; the sender's GPU can do nothing else."""
        return self.fixed_s + self.per_token_s * tokens

    def times(self, factor: float) -> "Hop":
        """One that takes so many times as long."""
        return Hop(self.fixed_s * factor, self.per_token_s * factor)


NO_HOP = Hop(0.0, 0.0)


@dataclass(frozen=True)
class Stage:
    """Some of the layers on GPUs of their own. Its timer knows of the GPU alone, no host work."""

    timer: StepTimer
    hop: Hop


class StagePass(NamedTuple):
    """What one batch takes on one stage: the GPU's time, and the time to send it on."""

    time: StepTime
    send_s: float


class PipelineTimer:
    """The times of a replica whose layers are spread over stages.

    `timing` is the host's work, which every stage's worker does before its GPU can begin: once a batch is scheduled
    (workers wait for nothing but each other's results), and while the GPU still has to do with the batch before.
    """

    def __init__(self, stages: list[Stage], timing: EngineTiming) -> None:
        self.stages = stages
        self.timing = timing

    def slowed(self, steps: float, links: float) -> "PipelineTimer":
        """The same with links that take `links` times as long, and all of it then `steps` times."""
        stages = [
            Stage(
                SlowedTimer(stage.timer, steps, links),
                NO_HOP if stage.hop is NO_HOP else stage.hop.times(steps * links),
            )
            for stage in self.stages
        ]
        host = {name: getattr(self.timing, name) * steps for name in ("host_step_s", "host_seq_s", "host_exposed_s")}
        return PipelineTimer(stages, replace(self.timing, **host))

    def host_s(self, shape: BatchShape) -> float:
        """Host work of every stage before its GPU begins with a batch."""
        return self.timing.host_step_s + self.timing.host_seq_s * (shape.decodes + len(shape.prefills))

    def passes(self, shape: BatchShape) -> list[StagePass]:
        """What the batch takes on each stage."""
        tokens = shape.tokens
        return [
            StagePass(stage.timer.step(shape), stage.hop.seconds(tokens) if stage.hop is not NO_HOP else 0.0)
            for stage in self.stages
        ]

    def step(self, shape: BatchShape) -> StepTime:
        """The time of one forward pass that has the pipeline for itself, its parts summed over the stages."""
        passes = self.passes(shape)
        waiting_s = self.host_s(shape) + self.timing.host_exposed_s
        return StepTime(
            waiting_s + sum(one.time.total_s + one.send_s for one in passes),
            waiting_s + sum(one.time.exposed_host_s(shape.decode_context_tokens) for one in passes),
            sum(one.time.comm_s + one.send_s for one in passes),
            sum(one.time.padding_s for one in passes),
            any(one.time.extrapolated for one in passes),
        )

    def decode_run(self, decodes: int, context_tokens: int, steps: int) -> tuple[list[float], StepTime]:
        """Durations of `steps` decode steps, each of which has the pipeline for itself."""
        times = [self.step(BatchShape([], decodes, context_tokens + step * decodes, decodes)) for step in range(steps)]
        outside = any(time.extrapolated for time in times)
        return [time.total_s for time in times], times[0]._replace(extrapolated=outside)


def hop(profile: Profile, hidden: int, tensor_parallel: int, sender: int) -> Hop:
    """From the stage whose first GPU is `sender` to the next, whose GPUs follow.

    Every GPU sends its share of the activations to its peer, and the receivers gather the whole among themselves
    (vLLM, `send_tensor_dict` with an all_gather_group).
    """
    share = _TENSORS_SENT * hidden * ACTIVATION_BYTES / tensor_parallel
    link = link_between(profile, sender, sender + tensor_parallel)
    fixed_s = link.hop_s + profile.kernel_latency_s
    per_token_s = share / link.bandwidth_bytes_per_s
    if tensor_parallel > 1:
        start_s, with_one_s = (float(_gather_s(profile, tensor_parallel, tokens * share)) for tokens in (0, 1))
        fixed_s += start_s + profile.kernel_latency_s
        per_token_s += with_one_s - start_s  # gathering is a ring: a straight line
    return Hop(fixed_s, per_token_s)


def _gather_s(profile: Profile, ranks: int, share: float) -> float:
    gather = Operation("all_gather", "stage_gather", 1, 0, share, share, comm_bytes=share, ranks=ranks)
    return float(collective_s(gather, profile))
