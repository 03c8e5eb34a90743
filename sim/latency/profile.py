"""The step time from a GPU's profile: the sum over the model's operations, baked into tables by row count."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from sim.latency.curves import Array, ContextLine, Curves, PrefillGrid
from sim.latency.protocol import StepTime, TimerContext, default_cudagraph_sizes
from sim.latency.roofline import sustained
from sim.models.lora import lora_operations
from sim.models.operations import (
    Operation,
    decode_attention,
    prefill_attention,
    sample_operations,
    token_operations,
)
from sim.models.shape import BatchShape

_NUMPY_PAYS = 72
"""Steps from which a numpy expression beats a list comprehension."""


@dataclass(frozen=True)
class Profile:
    """Sum of the model's operations on the scenario's GPU: measured curves where it has them, else a roof."""

    def build(self, context: TimerContext) -> "ProfileTimer":
        """The timer of one replica; timers of equal contexts are one object.

        Raises ModelError for a tensor_parallel or dtype that the model does not take, ProfileError for points
        that cannot be used.
        """
        return _build(context)


@lru_cache(maxsize=128)
def _build(context: TimerContext) -> "ProfileTimer":
    if context.model.sliding_layers:
        from sim.latency.windowed import WindowedProfileTimer  # which is a ProfileTimer

        return WindowedProfileTimer(context)
    return ProfileTimer(context)


class _DecodeCost(NamedTuple):
    """What pure-decode steps of one number of requests cost: line + add, at least floor."""

    starts: list[float]
    intercepts: list[float]
    slopes: list[float]
    floor_s: float
    limit: float
    add_s: float
    comm_s: float
    padding_s: float
    extrapolated: bool

    def law(self, context: int) -> tuple[int, bool, bool]:
        """What a step's parts depend on: the line's segment, whether the GPU is the bound, and the limit."""
        i = bisect_right(self.starts, context) - 1 if len(self.starts) > 1 else 0
        return i, self.intercepts[i] + self.slopes[i] * context > self.floor_s, context > self.limit


class ProfileTimer:
    """Step times by table look-up.

    A step's GPU time = rows (padded to a CUDA graph) + attention + LM head of the sampled rows. The host's
    time is hidden behind it, or not, as EngineTiming says; without a graph the launching of every kernel
    counts as host time too. More rows than max_num_batched_tokens (or max_num_seqs, if larger) raise
    ValueError.
    """

    __slots__ = (
        "_comm", "_context", "_curves", "_decode", "_eager_s", "_graph_limit", "_grid", "_hot", "_lines",
        "_padded", "_prefill", "_rows", "_rows_out", "_sample", "_sample_comm", "_sample_out",
    )  # fmt: skip

    def __init__(self, context: TimerContext) -> None:
        model, tp = context.model, context.tensor_parallel
        self._context = context
        self._curves = Curves(context.profile)
        size = max(context.max_num_batched_tokens, context.max_num_seqs)
        counts = np.arange(1, size + 1, dtype=np.int64)
        rows = list(token_operations(model, counts, tp, context.weight_dtype, context.kv_dtype, context.experts))
        if context.adapters:
            rows += lora_operations(model, counts, context.adapters, context.lora_rank, tp)
        samples = list(sample_operations(model, counts, tp))
        self._rows, self._comm, self._rows_out = self._tables(rows, size)
        self._sample, self._sample_comm, self._sample_out = self._tables(samples, size)
        launches = sum(operation.times for operation in rows) + 2 * model.layers
        self._eager_s = launches * context.timing.eager_launch_s
        self._padded, self._graph_limit = self._padding(size)
        self._prefill = self._prefill_constants()
        self._grid = self._prefill_grid()
        self._decode: list[_DecodeCost | None] = [None] * (size + 1)
        self._lines: list[ContextLine | None] = [None] * (size + 1)
        timing = context.timing
        self._hot = (  # one look-up instead of many in `step`
            self._rows, self._padded, self._sample, self._lines, *self._prefill, self._grid is not None,
            bool(self._curves.measured) and self._grid is None,
            timing.overlap, timing.host_step_s, timing.host_seq_s, timing.host_exposed_s, self._graph_limit,
        )  # fmt: skip

    def step(self, shape: BatchShape) -> StepTime:
        """The time of one forward pass."""
        prefills, decodes, sampled = shape.prefills, shape.decodes, shape.sampled
        if not prefills and sampled == decodes:
            return self._pure_decode(decodes, shape.decode_context_tokens)
        (rows_s, padded_rows, sample_s, lines, pair_s, query_s, key_s, launch_s, gridded,
         chunks_outside, overlap, host_step_s, host_seq_s, exposed_s, graph_limit) = self._hot  # fmt: skip
        rows = decodes
        outside = False
        if gridded:
            attention, new_tokens, outside = self._gridded(prefills)
            rows += new_tokens
        elif prefills:
            attention, outside = launch_s, chunks_outside
            for new, before in prefills:
                rows += new
                computing = (new * before + new * (new + 1) // 2) * pair_s
                moving = new * query_s + (before + new) * key_s
                attention += computing if computing > moving else moving
        else:
            attention = 0.0
        if rows >= len(rows_s):
            raise self._too_large(rows)
        if decodes:
            context = shape.decode_context_tokens
            line = lines[decodes] or self._line(decodes)
            starts, intercepts, slopes, limit = line
            i = bisect_right(starts, context) - 1 if len(starts) > 1 else 0
            attention += intercepts[i] + slopes[i] * context
            if context > limit:
                outside = True
        padded = padded_rows[rows]
        gpu = rows_s[padded] + sample_s[sampled] + attention
        work = host_step_s + host_seq_s * (decodes + len(prefills))
        floor = self._eager_s if rows > graph_limit else 0.0
        if overlap:
            floor += work
            host = exposed_s
        else:
            host = work + exposed_s
        padding = rows_s[padded] - rows_s[rows]
        total = gpu + host
        if gpu < floor:
            total = floor + host
            host += floor - gpu
        return StepTime(
            total,
            host,
            self._comm[rows] + self._sample_comm[sampled],
            padding if padding > 0.0 else 0.0,
            outside or self._rows_out[padded] or self._sample_out[sampled],
        )

    def decode_run(self, decodes: int, context_tokens: int, steps: int) -> tuple[list[float], StepTime]:
        """Durations of at most `steps` pure-decode steps in a row; equal to `step` bit for bit.

        The run ends where the line of the attention time, the bound (GPU or host) or `extrapolated` changes.
        """
        first = self._pure_decode(decodes, context_tokens)
        cost = self._decode[decodes]
        assert cost is not None
        last = context_tokens + (steps - 1) * decodes
        if first.total_s > cost.floor_s and len(cost.starts) == 1 and last <= cost.limit:
            # The usual case: one rising line from here on.
            contexts = range(context_tokens, last + 1, decodes)
            return along(cost.intercepts[0], cost.slopes[0], contexts), first
        law = cost.law(context_tokens)
        if cost.law(last) != law:
            contexts = range(context_tokens, last + 1, decodes)
            steps = bisect_left(contexts, True, key=lambda context: cost.law(context) != law)
        segment, gpu_bound, _ = law
        if not gpu_bound:
            return [cost.floor_s] * steps, first
        contexts = range(context_tokens, context_tokens + steps * decodes, decodes)
        return along(cost.intercepts[segment], cost.slopes[segment], contexts), first

    def _pure_decode(self, decodes: int, context: int) -> StepTime:
        if not decodes:  # everything was preempted: only the host works, and time must pass
            timing = self._context.timing
            host_s = max(timing.host_step_s + timing.host_exposed_s, 1e-6)
            return StepTime(host_s, host_s, 0.0, 0.0, False)
        if decodes >= len(self._rows):
            raise self._too_large(decodes)
        cost = self._decode[decodes] or self._decode_cost(decodes)
        starts, intercepts, slopes, floor, limit, add, comm, padding, outside = cost
        i = bisect_right(starts, context) - 1 if len(starts) > 1 else 0
        total = intercepts[i] + slopes[i] * context
        if total > floor:
            return StepTime(total, add, comm, padding, outside or context > limit)
        waiting = add + (floor - intercepts[i])
        return StepTime(floor, waiting, comm, padding, outside or context > limit, -slopes[i])

    def _gridded(self, prefills: Sequence[tuple[int, int]]) -> tuple[float, int, bool]:
        """(seconds, new tokens, extrapolated?) of prefill attention on a measured grid."""
        assert self._grid is not None
        seconds, rows, outside = 0.0, 0, False
        for new, before in prefills:
            rows += new
            ratio, beyond = self._grid.ratio(new, before)
            seconds += self._prefill_roof(new, before) * ratio
            outside = outside or beyond
        return seconds, rows, outside

    def _too_large(self, rows: int) -> ValueError:
        return ValueError(f"a step of {rows} rows is more than max_num_batched_tokens, {len(self._rows) - 1}")

    def _decode_cost(self, decodes: int) -> _DecodeCost:
        """Everything of a pure-decode step but its context, folded into the intercepts of one line."""
        line = self._line(decodes)
        padded = self._padded[decodes]
        timing = self._context.timing
        work = timing.host_step_s + timing.host_seq_s * decodes
        floor = self._eager_s if decodes > self._graph_limit else 0.0
        floor += work if timing.overlap else 0.0
        add = timing.host_exposed_s if timing.overlap else work + timing.host_exposed_s
        fixed = self._rows[padded] + self._sample[decodes] + add
        cost = _DecodeCost(
            line.starts,
            [fixed + intercept for intercept in line.intercepts],
            line.slopes,
            floor + add,
            line.limit,
            add,
            self._comm[decodes] + self._sample_comm[decodes],
            max(self._rows[padded] - self._rows[decodes], 0.0),
            self._rows_out[padded] or self._sample_out[decodes],
        )
        self._decode[decodes] = cost
        return cost

    def _line(self, decodes: int) -> ContextLine:
        """Decode attention of all layers over the total context, made once per number of decodes."""
        line = self._lines[decodes]
        if line is None:
            context = self._context
            operation = decode_attention(context.model, decodes, decodes, context.tensor_parallel, context.kv_dtype)
            one = self._curves.decode(operation)
            layers = float(operation.times)
            line = ContextLine(
                one.starts, [layers * a for a in one.intercepts], [layers * b for b in one.slopes], one.limit
            )
            self._lines[decodes] = line
        return line

    def _tables(self, operations: list[Operation], size: int) -> tuple[list[float], list[float], list[bool]]:
        """(seconds, seconds of collectives, extrapolated?) by count 0, 1, ..., size; summed in list order."""
        total: Array = np.zeros(size)
        comm: Array = np.zeros(size)
        outside: Array = np.zeros(size, dtype=bool)
        for operation in operations:
            one, beyond = self._curves.seconds(operation)
            time = one * operation.times
            total = total + time
            if operation.kind in ("all_reduce", "all_gather"):
                comm = comm + time
            outside = outside | beyond
        if self._context.overlap_communication:
            hidden = np.minimum(self._context.overlap_communication * comm, total - comm)
            total, comm = total - hidden, comm - hidden
        return [0.0, *total.tolist()], [0.0, *comm.tolist()], [False, *outside.tolist()]

    def _sizes(self) -> tuple[int, ...]:
        context = self._context
        sizes = context.timing.cudagraph_sizes
        if sizes is None:
            return default_cudagraph_sizes(context.max_num_seqs, context.max_num_batched_tokens)
        return tuple(size for size in sizes if size < len(self._rows))

    def _padding(self, size: int) -> tuple[list[int], int]:
        """(rows that are computed for 0, 1, 2, ... rows, largest graph): the next captured graph's rows."""
        sizes = self._sizes()
        padded = [0]
        for rows in range(1, size + 1):
            i = bisect_left(sizes, rows)
            padded.append(sizes[i] if i < len(sizes) else rows)
        return padded, sizes[-1] if sizes else 0

    def _prefill_constants(self) -> tuple[float, float, float, float]:
        """Seconds of all layers per query-key pair, per query row moved, per key moved, and per launch."""
        context = self._context
        one = prefill_attention(context.model, 1, 0, 1, context.tensor_parallel, context.kv_dtype)
        compute, memory = sustained(one, context.profile)
        assert compute is not None
        layers = one.times
        flops: Any = one.flops
        queries: Any = 2 * one.write_bytes
        keys: Any = one.read_bytes - one.write_bytes
        launch = layers * context.profile.kernel_latency_s
        return layers * flops / compute, layers * queries / memory, layers * keys / memory, launch

    def _prefill_roof(self, new: float, before: float) -> float:
        flops_s, query_s, key_s, latency_s = self._prefill
        computing = (new * before + new * (new + 1) / 2) * flops_s
        moving = new * query_s + (before + new) * key_s
        return (computing if computing > moving else moving) + latency_s

    def _prefill_grid(self) -> PrefillGrid | None:
        context = self._context
        one = prefill_attention(context.model, 1, 0, 1, context.tensor_parallel, context.kv_dtype)
        grid = self._curves.prefill(one)
        layers = one.times
        return grid.scaled_by(lambda new, before: self._prefill_roof(new, before) / layers) if grid else None


def along(base: float, slope: float, contexts: range) -> list[float]:
    """base + slope * context for every context, with the same roundings on both paths."""
    if len(contexts) < _NUMPY_PAYS:
        return [base + slope * context for context in contexts]
    many = base + slope * np.arange(contexts.start, contexts.stop, contexts.step)
    durations: list[float] = many.tolist()
    return durations
