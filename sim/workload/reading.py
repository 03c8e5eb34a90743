"""One pass over a trace file, block by block, until the slice is full; by time where rows are not in order."""

from collections.abc import Generator, Hashable, Iterator
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from sim.errors import TraceError
from sim.request import Segments
from sim.workload import traceextras
from sim.workload.clock import Clock
from sim.workload.fileoptions import Fitting, Signs
from sim.workload.problems import BadRows, Problem, blank
from sim.workload.rows import TOKENS_WANTED, Block, Rows, not_tokens
from sim.workload.table import Bools, Floats, Ints
from sim.workload.tracecontent import Content
from sim.workload.traceoptions import TraceOptions
from sim.workload.waiting import Wait

_CHUNK_ROWS = 1 << 16


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


class Kept(NamedTuple):
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


class _OutOfOrderError(Exception):
    """A row is earlier than one before it."""


def read_rows(
    options: TraceOptions, rows: Rows, columns: Columns, clock: Clock, content: Content
) -> tuple["Reading", list[Kept]]:
    """The usable rows by time, a block at a time, and the pass over the file that found them.

    A file whose rows are in order is read until the slice is full, and a block further; where any of these rows is
    earlier than one before, all of the file is read and put in order. Raises OptionError for rows that cannot be used.
    """
    fresh = deepcopy(content)
    reading = Reading(options, rows, columns, clock, content)
    try:
        kept = list(reading.in_file_order())
    except _OutOfOrderError:
        reading = Reading(options, rows, columns, clock, fresh)
        kept = list(reading.by_time())
    if len(reading.bad) and options.on_bad_row == "error":
        if not reading.usable:
            raise TraceError(f"{reading.bad.told()}; no other row is there, so mend the file")
        raise reading.bad.error()
    return reading, kept


class Reading:
    """What one pass over a file has met so far."""

    def __init__(self, options: TraceOptions, rows: Rows, columns: Columns, clock: Clock, content: Content) -> None:
        self.options, self.rows, self.columns, self.clock, self.content = options, rows, columns, clock, content
        self.end_s = np.inf if options.duration is None else options.start + options.duration
        self.wanted = np.inf if options.limit is None else options.offset + options.limit
        self.latest_s = -np.inf  # of the rows so far whose time can be read
        self.last_s = 0.0  # of the rows so far that can be used
        self.fitting, self.bad = Fitting(options), BadRows(rows)
        self.read = self.asked = self.usable = self.kept = self.disordered = 0

    def in_file_order(self) -> Iterator[Kept]:
        """The usable rows, a block at a time; _OutOfOrderError once one is earlier than a row before."""
        full = False
        with closing(self._blocks()) as blocks:
            for block in blocks:
                arrival, problems = self.clock.read(self.rows, block[self.columns.arrival])
                times = arrival[_timely(arrival, problems)]
                if (np.diff(times, prepend=self.latest_s) < 0).any():
                    raise _OutOfOrderError
                self.latest_s = float(times[-1]) if len(times) else self.latest_s
                if full:  # this block was only looked at
                    break
                part, full = self._take(block, arrival, problems, self.read + np.arange(len(arrival)))
                yield part
        self.bad.add_misshapen(self.rows.misshapen(self.read if full else None))

    def by_time(self) -> Iterator[Kept]:
        """The usable rows of the whole file by time, those of one time in the file's order, a chunk at a time."""
        whole = self.rows.merged(list(self._blocks()))
        arrival, problems = self.clock.read(self.rows, whole[self.columns.arrival])
        timely = _timely(arrival, problems)
        self.disordered = int((np.diff(arrival[timely]) < 0).sum())
        if self.clock.shifts:
            arrival = arrival - arrival[timely].min()
        order = np.argsort(np.where(timely, arrival, -np.inf), kind="stable")
        for start in range(0, len(order), _CHUNK_ROWS):
            places = order[start : start + _CHUNK_ROWS]
            here = [problem._replace(rows=problem.rows[places]) for problem in problems]
            part, full = self._take(self.rows.taken(whole, places), arrival[places], here, places)
            yield part
            if full:
                break
        self.bad.add_misshapen(self.rows.misshapen(None))

    def _blocks(self) -> Generator[Block, None, None]:
        names = [self.columns.arrival, self.columns.prompt, self.columns.output]
        return self.rows.blocks(names, (*self.content.columns, *traceextras.COLUMNS))

    def _take(self, block: Block, arrival: Floats, problems: list[Problem], places: Ints) -> tuple[Kept, bool]:
        """A block's usable rows, and whether the slice is full with them; `places` numbers its rows in the file."""
        prompt, output = self.rows.numbers(block[self.columns.prompt]), self._outputs(block)
        problems = [
            *problems,
            *self._length_problems(block, prompt, output),
            *self.content.problems(self.rows, block, prompt),
            *traceextras.problems(self.rows, block),
        ]
        asked = self.content.wanted(self.rows, block, len(arrival))
        bad = asked & np.logical_or.reduce([problem.rows for problem in problems])
        wanted = asked & ~bad & (arrival >= self.options.start)  # the other end is where reading stops
        inside = wanted & ~self.fitting.dropped(prompt, output)
        stop, full = self._stop(bad, arrival, inside)
        bad, wanted, inside = bad[:stop], wanted[:stop], inside[:stop]
        self.bad.add(problems, bad, places[:stop])
        self.last_s = float(np.max(arrival[:stop][asked[:stop] & ~bad], initial=self.last_s))
        self.read += stop
        self.asked += int(asked[:stop].sum())
        self.usable += int((asked[:stop] & ~bad).sum())
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
        return Kept(arrival[chosen], lengths, outputs, priority, segments, *names, extras), full

    def _outputs(self, block: Block) -> Floats:
        output, default = self.rows.numbers(block[self.columns.output]), self.columns.default_output
        if default is None:
            return output
        return np.where(blank(self.rows.values(block[self.columns.output])), default, output)

    def _stop(self, bad: Bools, arrival: Floats, inside: Bools) -> tuple[int, bool]:
        """How many of a block's rows to use, and whether the slice ends there."""
        beyond = np.flatnonzero(~bad & (arrival >= self.end_s))
        filled = np.flatnonzero(self.kept + np.cumsum(inside) >= self.wanted)
        ends = [*beyond[:1], *(filled[:1] + 1)]
        return (int(min(ends)), True) if ends else (len(arrival), False)

    def _length_problems(self, block: Block, prompt: Floats, output: Floats) -> Iterator[Problem]:
        for column, tokens in ((self.columns.prompt, prompt), (self.columns.output, output)):
            odd = not_tokens(tokens)
            if (empty := odd & np.isnan(tokens)).any():
                blanks = empty & blank(self.rows.values(block[column]))
                yield Problem(column, blanks, TOKENS_WANTED, "with a blank")
            if column == self.columns.output:
                none = (output == 0) & (self.options.empty_outputs == "bad")
                yield Problem(column, none, TOKENS_WANTED, "with 0", ("empty_outputs", "drop"))
                odd &= output != 0
            yield Problem(column, odd, TOKENS_WANTED)

    def nothing_left(self) -> str:
        """Why there is no request."""
        path = self.rows.path
        if self.read == 0:
            return f"{path} has no rows of requests; it needs at least one"
        if not self.asked and (why := self.content.asked_in_vain()):
            return f"{path}: {why}"
        if len(self.bad):
            return f"{path}: no usable row is left ({self.bad.note()})"
        told = "; ".join((*self.content.notes(), *self.fitting.notes()))
        return (
            f"{path}: start, duration, offset and limit leave no request of the {self.read} rows read, the last of "
            f"which arrives at {self.last_s:g} s; choose a slice inside{f' ({told})' if told else ''}"
        )

    def notes(self) -> Iterator[str]:
        """What is to be told with the result."""
        if len(self.bad):
            yield self.bad.note()
        if self.disordered:
            column = self.rows.called(self.columns.arrival)
            rows = "row was" if self.disordered == 1 else "rows were"
            yield f"{self.disordered:,} {rows} earlier than the row before; all were sorted by {column}"
        yield from self.clock.notes()
        yield from self.content.notes()
        yield from self.fitting.notes()


def _timely(arrival: Floats, problems: list[Problem]) -> Bools:
    """True where a time can be read."""
    odd: Bools = np.logical_or.reduce([~np.isfinite(arrival), *(problem.rows for problem in problems)])
    return ~odd
