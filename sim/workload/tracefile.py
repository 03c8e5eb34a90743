"""What every trace format shares: options, checking of rows, slicing and scaling of time."""

import gc
from collections.abc import Callable, Hashable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from pydantic import Field

from sim.choice import Choice
from sim.errors import TraceError
from sim.quantity import Seconds
from sim.request import Segments
from sim.workload import traceextras
from sim.workload.fields import Positive, Rate
from sim.workload.fileoptions import FileOptions, Fitting, Signs
from sim.workload.rows import TOKENS_WANTED, Block, Rows, describe, not_tokens
from sim.workload.table import Bools, Floats, Ints, RequestTable, rounded
from sim.workload.tracecontent import Content, Problem
from sim.workload.waiting import Wait, as_told

MAX_ARRIVAL_S = 366 * 86400.0
"""A later arrival is taken for a mistake of unit or origin (milliseconds, or seconds since 1970)."""

_SKIP_HINT = "mend the row, or set on_bad_row: skip"


@dataclass(frozen=True)
class TraceOptions(FileOptions):
    """Options of every trace format with arrival times, besides those of every file.

    offset and limit count requests that arrive in [start, start + duration). Kept times count from `start`, or from the
    first kept request when there is an offset. The mean rate is (n - 1) / (last - first). speedup and rate_per_s move
    sessions only where turns `wait`.
    """

    start: Seconds = 0.0
    """Leave out what arrives before this time of the trace. E.g. `10min`."""
    duration: Annotated[Seconds, Field(gt=0)] | None = None
    """Keep what arrives within this long after `start`. E.g. `1h`."""
    speedup: Positive = 1.0
    """Divide arrival times by this. E.g. `2.0`."""
    rate_per_s: Rate | None = None
    """Scale arrival times to this mean rate, in requests per second; instead of `speedup`. E.g. `12`."""
    jitter: Literal["grid"] | Seconds | None = None
    """Spread arrivals evenly over so long after their time; `grid`: as long as the grid that they sit on."""
    wait: bool = False
    """Send the later requests of a session after the answer before, instead of at their recorded time."""
    think_time: Annotated[Any, Choice("sim.workload.times")] | None = None
    """With `wait`, the pause before the next request of a session where the file tells none."""

    def __post_init__(self) -> None:
        if self.rate_per_s is not None and self.speedup != 1.0:
            raise ValueError("speedup and rate_per_s both scale the arrival times; give one of them")
        if self.think_time is not None and not self.wait:
            raise ValueError("think_time is drawn where turns wait for the answer before, so it needs wait: true")


@dataclass(frozen=True)
class Columns:
    """What a format calls its columns, and what it says of a time that cannot be read.

    Times are in units of `unit_s` seconds; a row without an output length gets `default_output`, if there is one.
    """

    arrival: str = "arrival_s"
    prompt: str = "prompt_tokens"
    output: str = "output_tokens"
    bad_time: str = "not a number of seconds"
    unit_s: float = 1.0
    default_output: int | None = None

    def signs(self, kind: Literal["csv", "json"], *more: str) -> Signs:
        """These columns, and more, as what a file is known by."""
        return Signs(kind, frozenset({self.arrival, self.prompt, self.output, *more}))


Clock: TypeAlias = Callable[[Any], Floats]
"""Turns a block's arrival column into seconds, NaN for whatever is no time."""


class _Kept(NamedTuple):
    """The usable rows of one block that lie in the wanted stretch of time."""

    arrival_s: Floats
    prompt_tokens: Ints
    output_tokens: Floats
    priority: Floats
    segments: list[Segments | None]
    sessions: list[Hashable | None]
    output_names: list[Hashable | None]
    waits: list[Wait | None]
    extras: dict[str, list[Any]]


def read_trace(
    options: TraceOptions,
    rows: Rows,
    columns: Columns,
    clock: Clock | None = None,
    content: Content | None = None,
) -> RequestTable:
    """Read, check, slice and scale a trace.

    Raises TraceError naming file, line, column, value and the mend for the first row that is unsorted,
    negative, missing a value, not whole, below 1 token or absurd (MAX_TOKENS, MAX_ARRIVAL_S), unless such
    rows are to be skipped; and when nothing is left.
    """
    reading = _Reading(options, rows, columns, clock or rows.numbers, content or Content())
    with _no_collection():
        kept = list(reading.run())
    arrival_s, prompt, output, priority = (
        np.concatenate([part[i] for part in kept])[options.offset :] if kept else np.empty(0) for i in range(4)
    )
    segments = [s for part in kept for s in part.segments][options.offset :]
    sessions = [s for part in kept for s in part.sessions][options.offset :]
    output_names = [s for part in kept for s in part.output_names][options.offset :]
    waits = [w for part in kept for w in part.waits][options.offset :]
    if len(arrival_s) == 0:
        raise TraceError(reading.nothing_left())
    table = RequestTable(
        arrival_s=_scaled(arrival_s, options),
        prompt_tokens=prompt.astype(np.int64),
        output_tokens=output.astype(np.int64),
        priority=priority.astype(np.int64),
        segments=_if_any(segments),
        sessions=_session_numbers(sessions) if _if_any(sessions) else None,
        output_names=_if_any(output_names),
        **traceextras.columns([part.extras for part in kept], options.offset, output.astype(np.int64)),
        skipped_rows=reading.skipped,
        notes=tuple(reading.notes()),
        source=Path(options.path).name,
    )
    if _if_any(waits):
        table = as_told(table, waits)
    table.check()
    return table


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the garbage collector, which would look at millions of new pieces again and again, all in use."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _if_any(values: list[Any]) -> list[Any] | None:
    return values if any(value is not None for value in values) else None


def _session_numbers(names: list[Hashable | None]) -> Ints:
    """i8[n]: equal names get equal numbers, 0, 1, ... as they come; None gets -1."""
    known: dict[Hashable, int] = {}
    return np.array([-1 if name is None else known.setdefault(name, len(known)) for name in names], dtype=np.int64)


def _scaled(arrival_s: Floats, options: TraceOptions) -> Floats:
    """Arrival times counted from the slice's beginning, at the wanted speed or rate."""
    times = arrival_s - (arrival_s[0] if options.offset else options.start)
    speedup = options.speedup
    if options.rate_per_s is not None:
        span = times[-1] - times[0]
        if span <= 0:
            raise TraceError(
                f"{options.path}: all requests arrive at once, so rate_per_s cannot be reached; leave it out"
            )
        speedup = options.rate_per_s * span / (len(times) - 1)
    return rounded(times / speedup)


class _Reading:
    """One pass over a file, block by block, until the slice is full."""

    def __init__(self, options: TraceOptions, rows: Rows, columns: Columns, clock: Clock, content: Content) -> None:
        self.options, self.rows, self.columns, self.clock, self.content = (
            options,
            rows,
            columns,
            clock,
            content,
        )
        self.end_s = np.inf if options.duration is None else options.start + options.duration
        self.wanted = np.inf if options.limit is None else options.offset + options.limit
        self.latest_s = 0.0  # of the usable rows so far
        self.fitting = Fitting(options)
        self.read = self.kept = self.skipped = 0
        self.first_skipped = ""

    def run(self) -> Iterator[_Kept]:
        """The usable rows, a block at a time."""
        names = [self.columns.arrival, self.columns.prompt, self.columns.output]
        full = False
        with closing(self.rows.blocks(names, (*self.content.columns, *traceextras.COLUMNS))) as blocks:
            for block in blocks:
                part, full = self._take(block)
                yield part
                if full:
                    break
        ragged = self.rows.misshapen(self.read if full else None)
        if ragged:
            self._bad(f"{self.rows.path}, line {ragged[0].line}: {ragged[0].text}", len(ragged))

    def _take(self, block: Block) -> tuple[_Kept, bool]:
        """A block's usable rows, and whether the slice is full with them."""
        arrival = self.clock(block[self.columns.arrival]) * self.columns.unit_s
        prompt, output = self.rows.numbers(block[self.columns.prompt]), self._outputs(block)
        problems = [
            *self._value_problems(arrival, prompt, output),
            *self.content.problems(self.rows, block, prompt),
            *traceextras.problems(self.rows, block),
        ]
        bad = np.logical_or.reduce([problem.rows for problem in problems])
        latest = np.maximum.accumulate(np.concatenate([[self.latest_s], np.where(bad, -np.inf, arrival)]))
        back = ~bad & (arrival < latest[:-1])
        problems.append(Problem(self.columns.arrival, back, "earlier than the row before; sort the file by it"))
        bad |= back

        wanted = ~bad & (arrival >= self.options.start)  # the other end is where reading stops
        wanted &= self.content.wanted(self.rows, block, len(arrival))
        inside = wanted & ~self.fitting.dropped(prompt, output)
        stop, full = self._stop(bad, arrival, inside)
        bad, wanted, inside = bad[:stop], wanted[:stop], inside[:stop]
        if bad.any():
            self._bad(self._told(problems, int(bad.argmax())), int(bad.sum()))
        self.latest_s = float(latest[stop])
        self.read += stop
        self.fitting.count(prompt[:stop][wanted], output[:stop][wanted])
        chosen = np.flatnonzero(inside)
        lengths = prompt[chosen].astype(np.int64)
        segments = self.content.segments(self.rows, block, chosen, lengths, self.kept)
        lengths, segments = self.fitting.cut(lengths, segments)
        self.kept += len(chosen)
        priority = self.content.priority(self.rows, block, len(arrival))[chosen]
        told = (self.rows, block, chosen)
        names = self.content.sessions(*told), self.content.output_names(*told), self.content.waits(*told)
        extras = traceextras.read(self.rows, block, chosen)
        outputs = np.maximum(output[chosen], 1)
        return _Kept(arrival[chosen], lengths, outputs, priority, segments, *names, extras), full

    def _outputs(self, block: Block) -> Floats:
        output, default = self.rows.numbers(block[self.columns.output]), self.columns.default_output
        if default is None:
            return output
        missing = np.array([value is None for value in self.rows.values(block[self.columns.output])], dtype=bool)
        return np.where(missing, default, output)

    def _stop(self, bad: Bools, arrival: Floats, inside: Bools) -> tuple[int, bool]:
        """How many of a block's rows to use, and whether the slice ends there."""
        beyond = np.flatnonzero(~bad & (arrival >= self.end_s))
        filled = np.flatnonzero(self.kept + np.cumsum(inside) >= self.wanted)
        ends = [*beyond[:1], *(filled[:1] + 1)]
        return (int(min(ends)), True) if ends else (len(arrival), False)

    def _value_problems(self, arrival: Floats, prompt: Floats, output: Floats) -> Iterator[Problem]:
        yield Problem(self.columns.arrival, ~np.isfinite(arrival), self.columns.bad_time)
        if self.clock == self.rows.numbers:
            yield Problem(self.columns.arrival, arrival < 0, "negative; times start at 0")
        late = np.isfinite(arrival) & (arrival > MAX_ARRIVAL_S)
        yield Problem(self.columns.arrival, late, "over a year after 0; give seconds since the trace began")
        yield Problem(self.columns.prompt, not_tokens(prompt), TOKENS_WANTED)
        yield Problem(self.columns.output, not_tokens(output) & (output != 0), TOKENS_WANTED)
        empty = (output == 0) & (self.options.empty_outputs == "bad")
        yield Problem(self.columns.output, empty, f"{TOKENS_WANTED}; set empty_outputs: drop (or one)")

    def _told(self, problems: list[Problem], row: int) -> str:
        problem = next(p for p in problems if p.rows[row])
        ragged = self.rows.misshapen(self.read + row)  # an earlier line may be worse
        if ragged and self.options.on_bad_row == "error":
            return f"{self.rows.path}, line {ragged[0].line}: {ragged[0].text}"
        return f"{describe(self.rows, self.read + row, problem.column)}, {problem.what}"

    def _bad(self, told: str, count: int) -> None:
        if self.options.on_bad_row == "error":
            raise TraceError(f"{told}; {_SKIP_HINT}")
        self.skipped += count
        self.first_skipped = self.first_skipped or told

    def nothing_left(self) -> str:
        """Why there is no request."""
        path = self.rows.path
        if self.read == 0:
            return f"{path} has no rows of requests; it needs at least one"
        if self.skipped:
            return f"{path}: no usable row is left ({self.skipped} skipped; the first: {self.first_skipped})"
        return (
            f"{path}: start, duration, offset and limit leave no request of the {self.read} rows read, "
            f"the last of which arrives at {self.latest_s:g} s; choose a slice inside"
        )

    def notes(self) -> Iterator[str]:
        """What is to be told with the result."""
        if self.skipped:
            rows = "row" if self.skipped == 1 else "rows"
            yield f"{self.skipped} unusable {rows} of the trace skipped; the first: {self.first_skipped}"
        yield from self.fitting.notes()
