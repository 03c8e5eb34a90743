"""Files that know what was asked and not when: sessions that an arrival process starts."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from sim.errors import ScenarioError
from sim.request import Segments
from sim.workload.table import Floats, Ints, RequestTable, rounded


@dataclass(frozen=True, eq=False)
class Sessions:
    """Requests without arrival times, session after session, as columns of equal length n.

    session i8[n] counts 0, 0, 1, ...; after_s f8[n] is how long after its session's start a request is sent
    (0 for the first), or, where turns i8[n] are given, after the last answer of the turn before; the other columns
    are those of RequestTable.
    """

    session: Ints
    after_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    turns: Ints | None = None
    segments: list[Segments | None] | None = None
    output_names: list[Hashable | None] | None = None
    skipped_rows: int = 0
    notes: tuple[str, ...] = ()
    source: str = ""

    @property
    def count(self) -> int:
        """How many sessions."""
        return int(self.session[-1]) + 1

    def table(self, starts_s: Floats, requests: int | None = None, duration_s: float | None = None) -> RequestTable:
        """The requests of the first len(starts_s) sessions, by time; the first `requests`, those before `duration_s`.

        Raises ScenarioError where no request is left, or fewer than `requests` come although nothing else ends them.
        """
        rows = np.searchsorted(self.session, len(starts_s))
        waits = self.turns is not None
        arrival_s = rounded(starts_s[self.session[:rows]] + (0.0 if waits else self.after_s[:rows]))
        order = np.argsort(arrival_s, kind="stable")[:requests]
        if duration_s is not None:
            order = order[arrival_s[order] < duration_s]
        if len(order) == 0:
            raise ScenarioError("workload: no request arrives within the duration; lengthen it, or raise the rate")
        if requests is not None and duration_s is None and len(order) < requests:
            raise ScenarioError(
                f"workload: {self.source} has {len(order):,} requests, not {requests:,}; lower requests: or omit it"
            )
        several = bool((np.diff(self.session) == 0).any())
        whole = RequestTable(
            arrival_s=arrival_s,
            prompt_tokens=self.prompt_tokens[:rows],
            output_tokens=self.output_tokens[:rows],
            priority=np.zeros(rows, dtype=np.int64),
            segments=None if self.segments is None else self.segments[:rows],
            output_names=None if self.output_names is None else self.output_names[:rows],
            sessions=self.session[:rows] if several else None,
            turns=self.turns[:rows] if several and self.turns is not None else None,
            pause_s=self.after_s[:rows] if several and waits else None,
            skipped_rows=self.skipped_rows,
            notes=self.notes,
            source=self.source,
        )
        table = whole.take(order)
        table.check()
        return table


@runtime_checkable
class SessionFile(Protocol):
    """A trace format without arrival times."""

    def read_sessions(self) -> Sessions:
        """The requests of every session. Raises TraceError naming file, place and value that cannot be used."""
        ...
