"""How long one run of a kernel takes: warm-up, many runs, median and spread.

On a GPU, time is measured with events. Short kernels are captured into a CUDA graph, many in a row, each on
its own buffers, so that the gaps between launches do not count; before each replay a large buffer is read, so
that nothing of theirs is left in the L2 cache. (Read, not written: lines that must be written back would slow
the kernel down.) Long kernels are launched one by one, queued behind that read. What the host does is
measured with its own clock; a CPU as the device with the time that it gave to this thread, so that other
programs on the machine do not count.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Call = Callable[[], object]

_GRAPH_BELOW_S = 4e-4
"""Kernels that take longer are launched one by one: their launch gap is less than one per cent."""
_REPLAY_S = 6e-4
_MOST_CALLS = 256
_SAMPLED_S = 0.012
_SAMPLES = (7, 20)
_PATIENCE_S = 0.5
"""Slow kernels are run less often than that, but three times."""
_THREAD_SAMPLES = (5, 31)
_SWEPT_BYTES = 2**22
NOISY_SPREAD = 0.1
"""Interquartile range over median from which a point counts as noisy."""
_NOISE_FLOOR_S = 3e-7


@dataclass(frozen=True)
class Timing:
    """Seconds of one run: median, fastest, interquartile range; of how many runs; and what to know about
    it."""

    median_s: float
    min_s: float
    spread_s: float
    repeats: int
    note: str = ""

    @property
    def noisy(self) -> bool:
        """Whether the runs differ too much for the median to be trusted."""
        return self.spread_s > max(NOISY_SPREAD * self.median_s, _NOISE_FLOOR_S)


class CpuTimer:
    """Times with a clock of the host: for the CPU as a device, and for what the host does for a GPU."""

    def __init__(
        self,
        synchronise: Call = lambda: None,
        sampled_s: float = 0.03,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._synchronise, self._sampled_s, self._clock = synchronise, sampled_s, clock

    def time(self, prepare: Callable[[], Call], hot: bool = False, graph: bool = False) -> Timing:
        """Time what `prepare` makes: a new call on its own buffers each time it is asked (once if `hot`)."""
        first = prepare()
        first()
        one_s = max(self._elapsed([first]), 1e-7)
        per_sample = max(1, min(_MOST_CALLS, round(1e-3 / one_s)))
        calls = [first] * per_sample if hot else [first, *(prepare() for _ in range(per_sample - 1))]
        count = _count(self._sampled_s, one_s * per_sample)
        samples = [self._elapsed(calls) / per_sample for _ in range(count)]
        return summary(samples, per_sample)

    def _elapsed(self, calls: list[Call]) -> float:
        self._synchronise()
        start = self._clock()
        for call in calls:
            call()
        self._synchronise()
        return self._clock() - start


class ThreadTimer:
    """Times a CPU as the device: each run alone, by the time that the CPU gave to this thread.

    Between two runs a matrix product and a sum of other data go through the caches, as in a model the rest of
    the layer does: data and code are then where a step finds them.
    """

    def __init__(self) -> None:
        self._x, self._weight = torch.ones(8, 1024).bfloat16(), torch.ones(2048, 1024).bfloat16()
        self._swept = torch.ones(_SWEPT_BYTES // 4)

    def time(self, prepare: Callable[[], Call], hot: bool = False, graph: bool = False) -> Timing:
        """Time what `prepare` makes: a new call on its own buffers each time it is asked."""
        first = prepare()
        first()
        count = max(_THREAD_SAMPLES[0], min(_THREAD_SAMPLES[1], round(_PATIENCE_S / self._sample(first))))
        return summary([self._sample(prepare()) for _ in range(count)], 1)

    def _sample(self, call: Call) -> float:
        torch.nn.functional.linear(self._x, self._weight).softmax(-1)
        self._swept.sum()
        start = time.thread_time()
        call()
        return max(time.thread_time() - start, 1e-7)


class CudaTimer:
    """Times with CUDA events on the current device, on a stream that it makes the current one."""

    def __init__(self, l2_bytes: int) -> None:
        self._stream = torch.cuda.Stream()  # the default stream cannot be captured
        torch.cuda.set_stream(self._stream)
        self._swept = torch.zeros(max(2 * l2_bytes, 2**26) // 4, dtype=torch.float32, device="cuda")
        self._sum = torch.zeros((), dtype=torch.float32, device="cuda")

    def time(self, prepare: Callable[[], Call], hot: bool = False, graph: bool = True) -> Timing:
        """Time what `prepare` makes: a new call on its own buffers each time it is asked (once if `hot`).

        hot: inputs may stay in the cache. graph: whether the call may be captured into a CUDA graph.
        """
        first = prepare()
        first()
        torch.cuda.synchronize()
        one_s = min(self._sample(first, hot) for _ in range(2))
        if not graph or one_s > _GRAPH_BELOW_S:
            return self._one_by_one(prepare, first, one_s, hot, "")
        per_replay = max(2, min(_MOST_CALLS, round(_REPLAY_S / one_s)))
        calls = [first] * per_replay if hot else [first, *(prepare() for _ in range(per_replay - 1))]
        try:
            captured = capture(calls, self._stream)
        except RuntimeError as error:
            torch.cuda.synchronize()  # raises again if the device is lost
            note = f"timed without a CUDA graph ({first_line(error)})"
            return self._one_by_one(prepare, first, one_s, hot, note)
        self._sample(captured.replay, hot)
        count = _count(_SAMPLED_S, one_s * per_replay)
        timing = summary(self._samples(captured.replay, count, hot, per_replay), per_replay)
        if timing.noisy:
            timing = summary(self._samples(captured.replay, 2 * count, hot, per_replay), per_replay)
        captured.reset()
        return timing

    def _one_by_one(self, prepare: Callable[[], Call], first: Call, one_s: float, hot: bool, note: str) -> Timing:
        """Each sample some calls, launched while the GPU is still busy with the sweep."""
        per_sample = max(1, min(8, round(_GRAPH_BELOW_S / one_s)))
        calls = [first] * per_sample if hot else [first, *(prepare() for _ in range(per_sample - 1))]

        def run() -> None:
            for call in calls:
                call()

        samples = self._samples(run, _count(_SAMPLED_S, one_s * per_sample), hot, per_sample)
        return summary(samples, per_sample, note)

    def _samples(self, run: Call, count: int, hot: bool, per_sample: int) -> list[float]:
        """Seconds per call of `count` runs, all queued before any is waited for."""
        pairs = [self._queue(run, hot) for _ in range(count)]
        torch.cuda.synchronize()
        return [start.elapsed_time(end) * 1e-3 / per_sample for start, end in pairs]

    def _sample(self, run: Call, hot: bool) -> float:
        start, end = self._queue(run, hot)
        torch.cuda.synchronize()
        return max(float(start.elapsed_time(end)) * 1e-3, 1e-7)

    def _queue(self, run: Call, hot: bool) -> tuple[Any, Any]:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.sum(self._swept, dim=0, out=self._sum)
        if hot:
            run()  # brings its inputs back into the cache
        start.record()
        run()
        end.record()
        return start, end


def capture(calls: list[Call], stream: Any, errors: str = "global") -> Any:
    """A CUDA graph of the calls, one after the other; they must have run before, on this stream.

    Lower-level than `torch.cuda.graph`, which empties the allocator's cache each time. errors: as there.
    """
    graph = torch.cuda.CUDAGraph()
    stream.synchronize()
    graph.capture_begin(capture_error_mode=errors)
    try:
        for call in calls:
            call()
    finally:
        graph.capture_end()
    return graph


def summary(samples: list[float], per_sample: int, note: str = "") -> Timing:
    """Median, fastest and interquartile range of samples that are each the mean of `per_sample` runs."""
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Timing(median, min(samples), high - low, len(samples) * per_sample, note)


def _count(total_s: float, sample_s: float) -> int:
    """Samples that take about total_s, within reason."""
    least, most = _SAMPLES
    patient = max(3, min(least, int(_PATIENCE_S / sample_s)))
    return max(patient, min(most, round(total_s / sample_s)))


def first_line(error: BaseException) -> str:
    """What an exception says, short enough for a table."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
