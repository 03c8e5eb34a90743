"""Measure a plan's points, one after the other, until the plan or the time is at an end.

What goes wrong with one point is written into its row and the next one begins; only a GPU that answers no
more ends the run. Rows that are there already are not measured again, so the same command continues where the
last one ended.
"""

import gc
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from calibrate.gpu import collectives, device
from calibrate.gpu.bench import Bench, Candidate, has_triton
from calibrate.gpu.cost import Pace, Speed, plan_s
from calibrate.gpu.errors import MeasureError, UnavailableError
from calibrate.gpu.ops import COLLECTIVES, OPS
from calibrate.gpu.planfile import PlanPoint, read_plan
from calibrate.gpu.progress import Progress, clock
from calibrate.gpu.record import Record
from calibrate.gpu.timing import CpuTimer, CudaTimer, ThreadTimer, Timing, first_line
from calibrate.rawpoints import RawPoint

_ARENA_BYTES = {"cuda": 4 * 2**30, "cpu": 2**28}
_ARENA_SHARE = 0.15
_RESERVED_SHARE = 0.7
"""Share of the GPU's memory from which what PyTorch keeps for later is given back."""
_LONGEST_SHARE, _LONGEST_S = 0.02, 1.0
"""A point that takes more than this share of the budget (or so many seconds) is too slow for this machine."""
_LEAST_LEFT_S = 0.05
_LOOK_EVERY_S = 20.0
_WARM_S = 1.0
_LACKING = "unavailable: "


class DeviceLostError(Exception):
    """The GPU answers no more; nothing can be measured by this process."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended (finished, budget, interrupted, device lost), rows by status, points still to
    measure."""

    ended: str
    counts: dict[str, int]
    left: int
    text: str


def measure(
    out: Path,
    plan_file: Path,
    budget_s: float,
    device_name: str | None = None,
    quiet: bool = False,
    began: float | None = None,
) -> Outcome:
    """Measure into the folder `out` for at most budget_s seconds; a folder that holds points is continued.

    device_name: cuda or cpu, else what there is. began: when the budget began to run (time.monotonic).
    Raises MeasureError for a plan, folder or device that cannot be used.
    """
    plan = read_plan(plan_file)
    if unknown := {point.op for point in plan.points} - {*OPS, *COLLECTIVES}:
        raise MeasureError(
            f"{plan_file}: nothing here measures {', '.join(sorted(unknown))}; "
            f"known ops are {', '.join(sorted((*OPS, *COLLECTIVES)))}"
        )
    chosen = _device(device_name)
    if chosen.type == "cpu":
        torch.set_num_threads(1)  # threads that wait for one another measure the machine's other programs, too
    progress = Progress(len(plan.points), budget_s, quiet, began)
    record = Record(out, device.facts(chosen))
    watch = device.Watch(chosen)
    watch.before = watch.look()
    record.begin(budget_s, plan_file, watch.before)
    progress.say(f"measuring {len(plan.points)} points on {device.facts(chosen)['name']} into {out}")
    ended, run = "failed", None
    try:
        run = _started(chosen, record, progress, watch)
        run.all(plan.points)
        ended = "budget" if run.left else "finished"
    except KeyboardInterrupt:
        ended = "interrupted"
    except DeviceLostError as error:
        ended = f"device lost ({error})"
    finally:
        record.end(
            seconds=round(progress.elapsed_s, 1),
            ended=ended,
            after=watch.look() if "lost" not in ended else None,
            slowed_by=watch.reasons,
            looks=watch.looks,
            throttled=watch.throttled(),
        )
    left = run.left if run else len(plan.points)
    counts = record.counts()
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "nothing"
    text = f"{ended} after {clock(progress.elapsed_s)}: {told} in {out}"
    if left:
        text += f"; {left} points are left, the same command continues"
    if run and run.too_slow:
        text += f"; {len(run.too_slow)} points take too long for this budget, a larger --budget measures them"
    return Outcome(ended, counts, left, text)


class Run:
    """One run over a plan on one device."""

    def __init__(self, chosen: torch.device, record: Record, progress: Progress, watch: device.Watch) -> None:
        self.record, self.progress, self.watch = record, progress, watch
        self.cuda = chosen.type == "cuda"
        self.bench = _bench(chosen)
        self.host_timer = CpuTimer(torch.cuda.synchronize) if self.cuda else CpuTimer(clock=time.thread_time)
        self.timer = CudaTimer(device.l2_bytes(chosen)) if self.cuda else ThreadTimer()
        self.done = {(point.shape, point.kernel) for point in record.points}
        self.measured = {point.shape for point in record.points if point.measured}
        # What this machine lacks is told once per format and kernel, not at every shape.
        self.lacking = {
            (point.op, point.dtype, point.kernel) for point in record.points if point.note.startswith(_LACKING)
        }
        self.checked: dict[tuple[Any, ...], str] = {}
        self.late: set[Any] = set()
        self.too_slow: set[Any] = set()
        self.left = 0
        self.looked_at = time.monotonic()
        self.pace = Pace(self._speed())

    def all(self, points: tuple[PlanPoint, ...]) -> None:
        """Every point that the time allows."""
        expected = [plan_s(point, self.pace.speed) for point in points]
        plan_left_s, began_s, passed_s = sum(expected), self.progress.elapsed_s, 0.0
        for number, (point, expected_s) in enumerate(zip(points, expected, strict=True)):
            self.left = len(points) - number + len(self.late)
            if self.progress.left_s < _LEAST_LEFT_S:
                return
            ratio = (self.progress.elapsed_s - began_s) / passed_s if passed_s > 1.0 else 1.0
            self.progress.show(number, plan_left_s * ratio, str(point))
            if point.op in COLLECTIVES:
                self._collective(point, points)
            else:
                for candidate in OPS[point.op](point, self.bench):
                    if not (candidate.fallback and point.key in self.measured):
                        self._candidate(point, candidate)
            plan_left_s -= expected_s
            passed_s += expected_s
            self._tidy()
        self.left = len(self.late)

    def _candidate(self, point: PlanPoint, candidate: Candidate) -> None:
        """One kernel at one point, if it is not there yet and there is time for it."""
        kernel = candidate.kernel if self.cuda else f"cpu_{candidate.kernel}"
        lacking = (point.op, str(point.shape.get("dtype", "")), kernel)
        if (point.key, kernel) in self.done or lacking in self.lacking:
            return
        needed_s = self.pace.measure_s(point, kernel)
        if needed_s > max(_LONGEST_SHARE * self.progress.budget_s, _LONGEST_S):
            self.too_slow.add(point.key)
            return
        if needed_s > self.progress.left_s:
            self.late.add(point.key)
            return
        began = time.monotonic()
        status, timing, note = self._try(candidate)
        self._note(point, kernel, status, timing, note)
        if timing is not None:
            self.pace.learn(point, kernel, time.monotonic() - began, timing.median_s)
            return
        if note.startswith(_LACKING):
            self.lacking.add(lacking)
            return
        # The exception is gone, and with it all that its frames held, so memory can be given back.
        self.bench.forget()
        if self.cuda or status == "oom":
            gc.collect()
        if self.cuda:
            _require_alive()
            torch.cuda.empty_cache()

    def _try(self, candidate: Candidate) -> tuple[str, Timing | None, str]:
        """(status, timing, note) of a kernel, whatever it does."""
        try:
            wrong = self._wrong(candidate)
            if wrong:
                return "failed", None, wrong
            timer = self.host_timer if candidate.host else self.timer
            timing = timer.time(candidate.prepare, hot=candidate.hot, graph=candidate.graph)
            return ("noisy" if timing.noisy else "ok"), timing, timing.note
        except Exception as error:  # a kernel may raise anything, and must not end the run
            status, note = _classified(error)
            return status, None, note

    def _wrong(self, candidate: Candidate) -> str:
        """Why the kernel must not be used; empty if it is right. Computed once, on a small input."""
        key = candidate.check_key
        if candidate.check is not None and key not in self.checked:
            try:
                error = candidate.check()
                right = error <= candidate.tolerance
                self.checked[key] = "" if right else f"wrong: relative error {error:.3g} against float32"
            except Exception as error:  # as above
                status, note = _classified(error)
                if status == "oom":
                    raise
                self.checked[key] = note
            self.bench.forget()
        return self.checked.get(key, "")

    def _collective(self, point: PlanPoint, points: tuple[PlanPoint, ...]) -> None:
        """All points of that many ranks at once, since their processes take a while to start."""
        ranks = collectives.ranks_of(point)
        group = [other for other in points if other.op in COLLECTIVES and collectives.ranks_of(other) == ranks]
        kernel = collectives.kernel(self.bench.device)
        group = [other for other in group if (other.key, kernel) not in self.done]
        why = collectives.unavailable(self.bench.device, ranks)
        if why:
            for other in group:
                self.record.not_measured(f"{other.op} ({ranks} ranks)", why)
            return
        if not group:
            return
        if self.progress.left_s < collectives.START_S:
            self.late.update(other.key for other in group)
            return
        self.progress.say(f"collectives over {ranks} ranks")
        try:
            results = collectives.measure(group, self.bench.device, ranks, self.progress.left_s)
        except Exception as error:  # processes that cannot be started must not end the run either
            results = [(group[0], "failed", None, _classified(error)[1])]
        for other, status, timing, note in results:
            self._note(other, kernel, status, timing, note)

    def _note(self, point: PlanPoint, kernel: str, status: str, timing: Timing | None, note: str) -> None:
        cells: dict[str, Any] = dict(point.shape)
        if timing is not None:
            cells |= {
                "time_s": timing.median_s,
                "min_s": timing.min_s,
                "spread_s": timing.spread_s,
                "repeats": timing.repeats,
            }
        row = RawPoint(op=point.op, kernel=kernel, status=status, held_out=point.held_out, note=note, **cells)
        self.record.add([row])
        self.done.add((point.key, kernel))
        if row.measured:
            self.measured.add(point.key)

    def _tidy(self) -> None:
        """Let go of the point's tensors, and look at the clocks now and then."""
        self.bench.forget()
        if self.cuda and torch.cuda.memory_reserved() > _RESERVED_SHARE * _memory(self.bench.device):
            gc.collect()
            torch.cuda.empty_cache()
        if self.cuda and time.monotonic() - self.looked_at > _LOOK_EVERY_S:
            self.watch.look()
            self.looked_at = time.monotonic()

    def _speed(self) -> Speed:
        """What the device does with a large product and a large copy; it warms up meanwhile."""
        size, count = (4096, 2**27) if self.cuda else (512, 2**23)

        def product() -> Any:
            x, y = self.bench.random("bf16", size, size), self.bench.random("bf16", size, size)
            return lambda: torch.nn.functional.linear(x, y)

        def copy() -> Any:
            source, target = self.bench.random("bf16", count), self.bench.scratch("bf16", count)
            return lambda: target.copy_(source)

        began = time.monotonic()
        while True:
            flops = 2 * size**3 / self.timer.time(product).median_s
            if not self.cuda or time.monotonic() - began > _WARM_S:
                break
        moved = 4 * count / self.timer.time(copy).median_s
        return Speed({"bf16": flops}, moved)


def _started(chosen: torch.device, record: Record, progress: Progress, watch: device.Watch) -> Run:
    """The run, once the device has shown that it works."""
    try:
        return Run(chosen, record, progress, watch)
    except RuntimeError as error:
        raise MeasureError(f"{chosen} cannot be used ({first_line(error)}); is another program on it?") from error


def _device(name: str | None) -> torch.device:
    if name not in (None, "cuda", "cpu"):
        raise MeasureError(f"--device must be cuda or cpu, not {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise MeasureError("torch sees no GPU; use --device cpu, or mend the driver or the torch build")
    return torch.device("cuda:0" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _bench(chosen: torch.device) -> Bench:
    if chosen.type != "cuda":
        return Bench(chosen, 1, (0, 0), _ARENA_BYTES["cpu"], triton=False)
    memory = int(min(_ARENA_BYTES["cuda"], _ARENA_SHARE * _memory(chosen)))
    properties = torch.cuda.get_device_properties(chosen)
    capability = torch.cuda.get_device_capability(chosen)
    return Bench(chosen, properties.multi_processor_count, capability, memory, has_triton())


def _memory(chosen: torch.device) -> int:
    return int(torch.cuda.get_device_properties(chosen).total_memory)


def _classified(error: Exception) -> tuple[str, str]:
    """(status, note) of what a kernel raised."""
    text = str(error)
    if isinstance(error, UnavailableError | ImportError):
        return "failed", f"{_LACKING}{first_line(error)}"
    short = isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or any(
        sign in text for sign in ("out of memory", "ALLOC_FAILED", "can't allocate memory")
    )
    return ("oom" if short else "failed"), f"{type(error).__name__}: {first_line(error)}"


def _require_alive() -> None:
    """Raise DeviceLostError if the GPU answers no more: an illegal access leaves nothing to go on with."""
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        raise DeviceLostError(first_line(error)) from error
