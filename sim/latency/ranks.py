"""Steps of ranks that keep their own requests and share the experts of a mixture: nobody is done before the last.

In every layer a rank computes attention for its own tokens, and then all tokens are exchanged and go through the
experts. So a step of all ranks together takes the longest of their own work, and the exchange and the experts' work of
all their tokens. A rank without requests takes part with one token, as vLLM's dummy batch does.
"""

from typing import Any

import numpy as np

from sim.latency.curves import Curves
from sim.latency.handover import AllToAll, Exchange
from sim.latency.protocol import StepTime, StepTimer, TimerContext
from sim.models.dtypes import ACTIVATION_BYTES
from sim.models.operations import expert_operations
from sim.models.shape import BatchShape

_DUMMY = BatchShape([], 1, 1, 1)

_FP8_WITH_SCALES = 1 + 4 / 128
"""Bytes of a number, with one fp32 scale for 128. Source: DeepEP, low_latency_dispatch."""


class RanksTimer:
    """The step times of `ranks` ranks that step together.

    `own` times what a rank does alone, without host work; `context` is that of the whole: its experts are spread over
    all GPUs, its timing is the host's work.
    """

    def __init__(self, own: StepTimer, context: TimerContext, ranks: int, backend: AllToAll) -> None:
        model, shards = context.model, context.experts
        assert shards is not None
        self.ranks = ranks
        self._own = own
        self._timing = context.timing
        self._backend = backend
        self._layers = model.moe_layers
        self._tensor_parallel = context.tensor_parallel
        dispatch_bytes = _FP8_WITH_SCALES if context.weight_dtype == "fp8" else ACTIVATION_BYTES
        self._exchange = Exchange(
            context.profile, model.hidden, model.experts_per_token, shards.ranks, dispatch_bytes, ACTIVATION_BYTES
        )
        counts = np.arange(1, ranks * max(context.max_num_batched_tokens, context.max_num_seqs) + 1, dtype=np.int64)
        curves = Curves(context.profile)
        total: Any = np.zeros(len(counts))
        outside: Any = np.zeros(len(counts), dtype=bool)
        for operation in expert_operations(model, counts, context.weight_dtype, shards):
            one, beyond = curves.seconds(operation)
            total, outside = total + one * operation.times, outside | beyond
        self._experts_s = [0.0, *total.tolist()]
        self._experts_out = [False, *outside.tolist()]

    def together(self, shapes: list[BatchShape | None]) -> list[StepTime]:
        """What a step is for each rank, None being a rank without requests; all of them take equally long.

        A rank's wait for the others is communication: it passes inside the exchange.
        """
        tokens = [1 if shape is None else shape.tokens for shape in shapes]
        total, most = sum(tokens), -(-max(tokens) // self._tensor_parallel)
        exchange_s = self._layers * self._backend.seconds(self._exchange, total, most)
        own = [self._own.step(shape or _DUMMY) for shape in shapes]
        longest_s = max(time.total_s for time in own)
        gpu_s = longest_s + self._experts_s[total] + exchange_s
        timing = self._timing
        work_s = max(
            timing.host_step_s + timing.host_seq_s * (shape.decodes + len(shape.prefills)) for shape in shapes if shape
        )
        waits_s = (max(work_s - gpu_s, 0.0) if timing.overlap else work_s) + timing.host_exposed_s
        return [
            StepTime(
                gpu_s + waits_s,
                waits_s + time.exposed_host_s(shape.decode_context_tokens if shape else 1),
                time.comm_s + exchange_s + (longest_s - time.total_s),
                time.padding_s,
                time.extrapolated or self._experts_out[total],
            )
            for time, shape in zip(own, shapes, strict=True)
        ]

    def step(self, shape: BatchShape) -> StepTime:
        """The time of a step in which only one rank has requests."""
        return self.together([shape, *[None] * (self.ranks - 1)])[0]

    def decode_run(self, decodes: int, context_tokens: int, steps: int) -> tuple[list[float], StepTime]:
        """Durations of `steps` decode steps of one rank, while the others have no requests."""
        times = [self.step(BatchShape([], decodes, context_tokens + i * decodes, decodes)) for i in range(steps)]
        outside = any(time.extrapolated for time in times)
        return [time.total_s for time in times], times[0]._replace(extrapolated=outside)


class KnownTimer:
    """The timer of one step whose time is known already."""

    __slots__ = ("_time",)

    def __init__(self, time: StepTime) -> None:
        self._time = time

    def step(self, shape: BatchShape) -> StepTime:
        """That time."""
        return self._time

    def decode_run(self, decodes: int, context_tokens: int, steps: int) -> tuple[list[float], StepTime]:
        """One step only."""
        return [self._time.total_s], self._time
