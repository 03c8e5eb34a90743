"""Step times of a model some of whose layers see a window: those attend to less, all else is as in any model."""

from bisect import bisect_left, bisect_right
from typing import NamedTuple

from sim.latency.profile import ProfileTimer, along
from sim.latency.protocol import StepTime, TimerContext
from sim.models.shape import BatchShape
from sim.models.windows import window_seen


class _Law(NamedTuple):
    """Seconds of a pure-decode step by its context alone, where both lines and the bound stay as they are.

    What the windows see is (growing * context + constant) / decodes, with the same whole constant in all steps of a
    run; so all of this is the same in all of them, bit for bit.
    """

    segments: tuple[int, int]  # of the line, for the full layers and for those with a window
    base_s: float
    per_context_s: float
    gpu_bound: bool
    outside: bool


class WindowedProfileTimer(ProfileTimer):
    """As ProfileTimer, with the attention of some layers over at most `sliding_window` tokens for each request.

    In decode those layers lie on the same curve, at the context that they see. In prefill a chunk's pairs and keys
    are those inside the windows, at the efficiency that was measured for a chunk after as much context.
    """

    __slots__ = ("_of_full", "_of_windows", "_window")

    def __init__(self, context: TimerContext) -> None:
        super().__init__(context)
        model = context.model
        self._window = model.sliding_window
        self._of_full = model.full_layers / model.layers
        self._of_windows = model.sliding_layers / model.layers

    def step(self, shape: BatchShape) -> StepTime:
        """The time of one forward pass."""
        decodes, context = shape.decodes, shape.decode_context_tokens
        seen, growing = shape.seen_in_window(self._window)
        if not shape.prefills and shape.sampled == decodes:
            return self._decoding(decodes, context, seen, growing)
        attention, outside = self._prefilling(shape)
        rows = shape.tokens
        if rows >= len(self._rows):
            raise self._too_large(rows)
        if decodes:
            line = self._lines[decodes] or self._line(decodes)
            attention += self._of_full * line.at(context) + self._of_windows * line.at(seen)
            outside = outside or (context if self._of_full else seen) > line.limit
        timing = self._context.timing
        padded = self._padded[rows]
        gpu = self._rows[padded] + self._sample[shape.sampled] + attention
        work = timing.host_step_s + timing.host_seq_s * (decodes + len(shape.prefills))
        floor = self._eager_s if rows > self._graph_limit else 0.0
        host = timing.host_exposed_s
        if timing.overlap:
            floor += work
        else:
            host += work
        waiting = max(floor - gpu, 0.0)
        return StepTime(
            gpu + waiting + host,
            host + waiting,
            self._comm[rows] + self._sample_comm[shape.sampled],
            max(self._rows[padded] - self._rows[rows], 0.0),
            outside or self._rows_out[padded] or self._sample_out[shape.sampled],
        )

    def decode_run(self, decodes: int, context_tokens: int, steps: int, *seen: int) -> tuple[list[float], StepTime]:
        """Durations of at most `steps` pure-decode steps in a row; equal to `step` bit for bit.

        `seen`: window_tokens and window_growing of the first, as in BatchShape. The run ends where the law changes.
        """
        window_tokens, window_growing = seen
        first = self._decoding(decodes, context_tokens, window_tokens, window_growing)

        def law(step: int) -> _Law:
            seen = window_tokens + step * window_growing
            return self._law(decodes, context_tokens + step * decodes, seen, window_growing)

        now = law(0)
        if law(steps - 1) != now:
            steps = bisect_left(range(steps), True, key=lambda step: law(step) != now)
        if not now.gpu_bound:
            return [first.total_s] * steps, first
        contexts = range(context_tokens, context_tokens + steps * decodes, decodes)
        return along(now.base_s, now.per_context_s, contexts), first

    def _prefilling(self, shape: BatchShape) -> tuple[float, bool]:
        """(seconds, extrapolated?) of the chunks' attention in all layers."""
        flops_s, query_s, key_s, launch_s = self._prefill
        seconds = 0.0 if self._grid or not shape.prefills else launch_s
        outside = bool(shape.prefills) and bool(self._curves.measured) and self._grid is None
        for new, before in shape.prefills:
            windowed = window_seen(new, before, self._window)
            for share, pairs, keys, context in (
                (self._of_full, new * before + new * (new + 1) // 2, before + new, before),
                (self._of_windows, windowed.pairs, windowed.keys, min(before, self._window - 1)),
            ):
                if not share:
                    continue
                roof = max(pairs * flops_s, new * query_s + keys * key_s)
                if self._grid is not None:
                    ratio, beyond = self._grid.ratio(new, context)
                    roof = (roof + launch_s) * ratio
                    outside = outside or beyond
                seconds += share * roof
        return seconds, outside

    def _decoding(self, decodes: int, context: int, seen: int, growing: int) -> StepTime:
        """A step that only decodes."""
        if not decodes:
            return self._pure_decode(0, 0)
        if decodes >= len(self._rows):
            raise self._too_large(decodes)
        cost = self._decode[decodes] or self._decode_cost(decodes)
        law = self._law(decodes, context, seen, growing)
        if law.gpu_bound:
            total = law.base_s + law.per_context_s * context
            return StepTime(total, cost.add_s, cost.comm_s, cost.padding_s, law.outside)
        waiting = cost.add_s + (cost.floor_s - law.base_s)
        return StepTime(cost.floor_s, waiting, cost.comm_s, cost.padding_s, law.outside, -law.per_context_s)

    def _law(self, decodes: int, context: int, seen: int, growing: int) -> _Law:
        cost = self._decode[decodes] or self._decode_cost(decodes)
        line = self._lines[decodes] or self._line(decodes)
        full, windowed = (bisect_right(line.starts, tokens) - 1 for tokens in (context, seen))
        slope = self._of_windows * line.slopes[windowed]
        fixed = self._rows[self._padded[decodes]] + self._sample[decodes] + cost.add_s
        attention = self._of_full * line.intercepts[full] + self._of_windows * line.intercepts[windowed]
        base = fixed + attention + slope * ((seen * decodes - growing * context) / decodes)
        per_context = self._of_full * line.slopes[full] + slope * (growing / decodes)
        gpu_bound = base + per_context * context > cost.floor_s
        beyond = (context if self._of_full else seen) > line.limit
        return _Law((full, windowed), base, per_context, gpu_bound, cost.extrapolated or beyond)
