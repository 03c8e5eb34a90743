"""From the rows of a trace with arrival times to a table: slicing, and scaling of time."""

import gc
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sim.errors import TraceError
from sim.workload import traceextras
from sim.workload.clock import Clock, PlainSeconds
from sim.workload.reading import Columns, read_rows
from sim.workload.rows import Rows
from sim.workload.table import Floats, Ints, RequestTable, rounded
from sim.workload.tracecontent import Content
from sim.workload.traceoptions import TraceOptions
from sim.workload.waiting import as_told


def read_trace(
    options: TraceOptions,
    rows: Rows,
    columns: Columns,
    clock: Clock | None = None,
    content: Content | None = None,
) -> RequestTable:
    """Read, check, sort, slice and scale a trace.

    Raises OptionError that tells all rows which cannot be used (no time, a missing value, not whole, below 1 token,
    absurd: MAX_TOKENS, MAX_ARRIVAL_S), with lines, counts and the mend, unless such rows are to be skipped; TraceError
    when nothing is left.
    """
    clock = clock or PlainSeconds(columns.arrival, columns.bad_time, columns.unit_s)
    with _no_collection():
        reading, kept = read_rows(options, rows, columns, clock, content or Content())
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
        skipped_rows=len(reading.bad),
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
