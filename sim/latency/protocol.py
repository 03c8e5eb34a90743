"""What a latency model is asked and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from sim.hardware import Profile
from sim.models.experts import ExpertShards
from sim.models.model import Model
from sim.models.shape import BatchShape


class StepTime(NamedTuple):
    """The duration of one forward pass and where it goes, in seconds; total_s holds all the other parts."""

    total_s: float
    host_s: float
    """Host time that the GPU waits for (not hidden behind its work)."""
    comm_s: float
    """Collectives."""
    padding_s: float
    """GPU time spent on the rows that fill up a CUDA graph."""
    extrapolated: bool
    """True if some operation lies outside the measured range of the profile."""
    host_per_context_s: float = 0.0
    """In a pure-decode step that waits for the host: by how much host_s changes per KV token attended to.

    The more the GPU has to do, the less of it waits. host_s itself is then the value without context."""

    def exposed_host_s(self, context_tokens: float) -> float:
        """Host time that the GPU waits for, when the decodes attend to `context_tokens` KV tokens."""
        return self.host_s + self.host_per_context_s * context_tokens


class StepTimer(Protocol):
    """Tells how long a forward pass takes; deterministic and without memory of earlier steps."""

    def step(self, shape: BatchShape) -> StepTime:
        """The time of one forward pass of `shape`."""
        ...

    def decode_run(self, decodes: int, context_tokens: int, steps: int) -> tuple[list[float], StepTime]:
        """Durations of `steps` pure-decode steps in a row of the same `decodes` requests, in seconds.

        Step j attends to context_tokens + j * decodes KV tokens. Equal, bit for bit, to asking `step`.
        The second item is that of the first step, its `extrapolated` true if that of any step is.

        For a model whose layers see a window there are two arguments more: window_tokens and window_growing of the
        first step, as in BatchShape.
        """
        ...


@dataclass(frozen=True)
class EngineTiming:
    """What the engine adds to the GPU's time, in seconds; all defaults are assumed, presets name sources."""

    host_step_s: float = 1.5e-3
    """Host work of one step: scheduling, input preparation, launch, reading tokens back, detokenising."""
    host_seq_s: float = 5e-6
    """Further host work per sequence in the step."""
    host_exposed_s: float = 2e-4
    """The part that never hides behind the GPU: from the sampled token to the next launch."""
    overlap: bool = True
    """Asynchronous scheduling: the host prepares a step while the GPU computes the one before."""
    cudagraph_sizes: tuple[int, ...] | None = None
    """Row counts with a captured CUDA graph; None: vLLM's list for the engine's limits; (): never a graph."""
    eager_launch_s: float = 5e-6
    """Host time to launch one kernel when no graph fits the step."""

    def __post_init__(self) -> None:
        for name in ("host_step_s", "host_seq_s", "host_exposed_s", "eager_launch_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a time of at least 0 s, not {getattr(self, name)}")
        sizes = self.cudagraph_sizes or ()
        if list(sizes) != sorted(set(sizes)) or any(size < 1 for size in sizes):
            raise ValueError("cudagraph_sizes must be whole numbers from 1 up, in ascending order")


def default_cudagraph_sizes(max_num_seqs: int, max_num_batched_tokens: int) -> tuple[int, ...]:
    """vLLM V1's capture sizes: 1, 2, 4, steps of 8 to 256, steps of 16 up to min(2 * max_num_seqs, 512).

    Source: vLLM, `cudagraph_capture_sizes` of the compilation config.
    """
    largest = min(2 * max_num_seqs, 512, max_num_batched_tokens)
    candidates: Sequence[int] = (1, 2, 4, *range(8, 256, 8), *range(256, 513, 16))
    return tuple(size for size in candidates if size <= largest)


@dataclass(frozen=True)
class TimerContext:
    """All that a latency model may depend on."""

    model: Model
    profile: Profile
    tensor_parallel: int = 1
    weight_dtype: str = "bf16"
    kv_dtype: str = "bf16"
    max_num_batched_tokens: int = 8192
    max_num_seqs: int = 256
    timing: EngineTiming = EngineTiming()
    adapters: int = 0
    """LoRA adapters in each step; every row is taken to belong to one of them."""
    lora_rank: int = 0
    """The rank that their slots have room for."""
    experts: ExpertShards | None = None
    """Whole experts on each GPU instead of a part of all."""
    overlap_communication: float = 0.0
    """The share of the all-reduces' time that hides behind the matrix products around them, if these take as long."""
