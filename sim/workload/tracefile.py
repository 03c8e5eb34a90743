"""What every trace format shares: options, checking of rows, slicing and scaling of time."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from pydantic import Field

from sim.errors import TraceError
from sim.quantity import Seconds
from sim.request import Segments
from sim.workload import traceextras
from sim.workload.fields import Count, Positive, Rate
from sim.workload.rows import TOKENS_WANTED, Block, Rows, describe, not_tokens
from sim.workload.table import Bools, Floats, RequestTable, rounded
from sim.workload.tracecontent import Content, Problem

MAX_ARRIVAL_S = 366 * 86400.0
"""A later arrival is taken for a mistake of unit or origin (milliseconds, or seconds since 1970)."""

_SKIP_HINT = "mend the row, or set on_bad_row: skip"


@dataclass(frozen=True)
class TraceOptions:
    """Options of every trace format.

    path: the file, plain or .gz, relative to the scenario's folder. start, duration: keep the requests
    that arrive in [start, start + duration) of the trace's own time. offset, limit: of those, leave out
    the first `offset` and keep at most `limit`. Kept times count from `start`, or from the first kept
    request when there is an offset. speedup: divide arrival times by it; or rate_per_s: scale them so that
    the mean rate, (n - 1) / (last - first), is this. on_bad_row: stop with an error that names the row, or
    `skip` it and count it.
    """

    path: str
    offset: Annotated[int, Field(ge=0)] = 0
    limit: Count | None = None
    start: Seconds = 0.0
    duration: Annotated[Seconds, Field(gt=0)] | None = None
    speedup: Positive = 1.0
    rate_per_s: Rate | None = None
    on_bad_row: Literal["error", "skip"] = "error"

    def __post_init__(self) -> None:
        if self.rate_per_s is not None and self.speedup != 1.0:
            raise ValueError("speedup and rate_per_s both scale the arrival times; give one of them")


@dataclass(frozen=True)
class Columns:
    """What a format calls its columns, and what it says of a time that cannot be read."""

    arrival: str = "arrival_s"
    prompt: str = "prompt_tokens"
    output: str = "output_tokens"
    bad_time: str = "not a number of seconds"


Clock: TypeAlias = Callable[[Any], Floats]
"""Turns a block's arrival column into seconds, NaN for whatever is no time."""


class _Kept(NamedTuple):
    """The usable rows of one block that lie in the wanted stretch of time."""

    arrival_s: Floats
    prompt_tokens: Floats
    output_tokens: Floats
    priority: Floats
    segments: list[Segments | None]
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
    kept = list(reading.run())
    arrival_s, prompt, output, priority = (
        np.concatenate([part[i] for part in kept])[options.offset :] if kept else np.empty(0) for i in range(4)
    )
    segments = [s for part in kept for s in part.segments][options.offset :]
    if len(arrival_s) == 0:
        raise TraceError(reading.nothing_left())
    table = RequestTable(
        arrival_s=_scaled(arrival_s, options),
        prompt_tokens=prompt.astype(np.int64),
        output_tokens=output.astype(np.int64),
        priority=priority.astype(np.int64),
        segments=segments if any(s is not None for s in segments) else None,
        **traceextras.columns([part.extras for part in kept], options.offset, output.astype(np.int64)),
        skipped_rows=reading.skipped,
        notes=tuple(reading.notes()),
        source=Path(options.path).name,
    )
    table.check()
    return table


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
        arrival = self.clock(block[self.columns.arrival])
        prompt, output = (self.rows.numbers(block[n]) for n in (self.columns.prompt, self.columns.output))
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

        inside = ~bad & (arrival >= self.options.start)  # the other end is where reading stops
        stop, full = self._stop(bad, arrival, inside)
        bad, inside = bad[:stop], inside[:stop]
        if bad.any():
            self._bad(self._told(problems, int(bad.argmax())), int(bad.sum()))
        self.latest_s = float(latest[stop])
        self.read += stop
        chosen = np.flatnonzero(inside)
        lengths = prompt[chosen].astype(np.int64)
        segments = self.content.segments(self.rows, block, chosen, lengths, self.kept)
        self.kept += len(chosen)
        priority = self.content.priority(self.rows, block, len(arrival))[chosen]
        extras = traceextras.read(self.rows, block, chosen)
        return _Kept(arrival[chosen], prompt[chosen], output[chosen], priority, segments, extras), full

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
        yield Problem(self.columns.output, not_tokens(output), TOKENS_WANTED)

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
