"""RequestTable: what a workload comes down to, one row per request."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.errors import TraceError
from sim.request import Segments

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]

ONE_TENANT = "default"
"""Whose requests are those that name no tenant."""

MAX_TOKENS = 10_000_000
"""A longer prompt or output is taken for a mistake (the longest real trace known here has 0.9 million)."""


def rounded(times: Floats) -> Floats:
    """Times on a grid of 1e-9 s, so that the last bits of a machine's math library do not matter."""
    out: Floats = np.round(times, 9)
    return out


@dataclass(frozen=True, eq=False)
class ClosedLoop:
    """At most `users` requests in flight: request i is sent `think_s[i]` after its user's previous answer.

    The first request of every user is sent `think_s[i]` after time 0. `think_s` is f8[n], in seconds.
    """

    users: int
    think_s: Floats


@dataclass(frozen=True, eq=False)
class RequestTable:
    """Columns of equal length n, one row per request in the order of arrival.

    arrival_s f8[n] sorted and at least 0 (all zeros for a closed loop, and the session's start where turns wait),
    prompt_tokens and output_tokens
    i8[n] at least 1, priority i8[n] (lower is more urgent), segments None when no request shares content,
    else n entries whose lengths add up to the prompt's. tenant i8[n] indexes the names in `tenants` (None: all
    are the first's); predicted_tokens i8[n] is the output length that a scheduler expects (None: the true
    one). cancel_after_s f8[n] is how long a client waits for the whole answer, infinite where it waits for ever,
    and cancel_after_tokens i8[n] after how many tokens it stops reading (None: nobody gives up). prompts i8[n]
    numbers the prompts where some have several answers, each of which is a row (None: each has one). output_names
    names the answers that a later prompt repeats as a segment of that name (None: no answer is repeated). sessions
    i8[n] gives the requests of one session one number, -1 for those of none (None: no sessions are known).
    adapter i8[n] indexes the names in `adapters`, -1 for requests that want no LoRA adapter (None: nobody wants one).
    Where turns wait for the answers before them, turns i8[n] numbers those of each session from 1, in rows that stand
    together; requests of one turn are sent side by side, pause_s f8[n] after the last answer of the turn before (or
    after the session's start), and the first request of a session without a pause (None: nothing waits).
    `skipped_rows` counts the rows of a trace that were left out as unusable, `notes` are told with the result,
    `source` says where the rows come from.
    """

    arrival_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    priority: Ints
    segments: list[Segments | None] | None = None
    closed_loop: ClosedLoop | None = None
    tenant: Ints | None = None
    tenants: tuple[str, ...] = (ONE_TENANT,)
    predicted_tokens: Ints | None = None
    cancel_after_s: Floats | None = None
    cancel_after_tokens: Ints | None = None
    prompts: Ints | None = None
    skipped_rows: int = 0
    notes: tuple[str, ...] = ()
    source: str = ""
    output_names: list[Hashable | None] | None = None
    sessions: Ints | None = None
    adapter: Ints | None = None
    adapters: tuple[str, ...] = ()
    turns: Ints | None = None
    pause_s: Floats | None = None

    @classmethod
    def of(
        cls,
        arrival_s: ArrayLike,
        prompt_tokens: ArrayLike,
        output_tokens: ArrayLike,
        priority: ArrayLike | None = None,
        segments: Sequence[Segments | None] | None = None,
        closed_loop: ClosedLoop | None = None,
        source: str = "given in Python",
        tenant: Sequence[str] | None = None,
        predicted_tokens: ArrayLike | None = None,
        cancel_after_s: ArrayLike | None = None,
        cancel_after_tokens: ArrayLike | None = None,
        adapter: Sequence[str | None] | None = None,
    ) -> "RequestTable":
        """A checked table from anything array-like; times are rounded to 1e-9 s, priority defaults to 0.

        `tenant` names the tenant of each request, `adapter` its LoRA adapter or None.
        """
        times = rounded(np.asarray(arrival_s, dtype=np.float64))
        names, codes = (None, None) if tenant is None else numbered(tenant)
        adapters, adapter_codes = ((), None) if adapter is None else numbered_or_none(adapter)
        table = cls(
            arrival_s=times,
            prompt_tokens=np.asarray(prompt_tokens, dtype=np.int64),
            output_tokens=np.asarray(output_tokens, dtype=np.int64),
            priority=np.zeros(times.shape, np.int64) if priority is None else np.asarray(priority, np.int64),
            segments=None if segments is None else list(segments),
            closed_loop=closed_loop,
            tenant=codes,
            tenants=names or (ONE_TENANT,),
            predicted_tokens=None if predicted_tokens is None else np.asarray(predicted_tokens, np.int64),
            cancel_after_s=None if cancel_after_s is None else np.asarray(cancel_after_s, np.float64),
            cancel_after_tokens=None if cancel_after_tokens is None else np.asarray(cancel_after_tokens, np.int64),
            source=source,
            adapter=adapter_codes,
            adapters=adapters,
        )
        table.check()
        return table

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def waits(self) -> bool:
        """Whether some requests are sent only when answers are there."""
        return self.closed_loop is not None or self.turns is not None

    def session_begins(self) -> Ints:
        """The first row of each session, where rows of a session stand together; a request of none is its own."""
        if self.sessions is None:
            return np.arange(len(self))
        fresh = np.ones(len(self), dtype=bool)
        fresh[1:] = (np.diff(self.sessions) != 0) | (self.sessions[1:] < 0)
        return np.flatnonzero(fresh)

    def turn_numbers(self) -> Ints:
        """i8[n]: which turn of its session each request is, from 1, by the order of rows where no turns wait."""
        if self.turns is not None or self.sessions is None:
            return np.ones(len(self), dtype=np.int64) if self.turns is None else self.turns
        prompts = np.arange(len(self)) if self.prompts is None else self.prompts
        order = np.lexsort((prompts, self.sessions))
        session, prompt = self.sessions[order], prompts[order]
        first = np.append(True, (np.diff(session) != 0) | (session[1:] < 0))
        other = np.cumsum(np.append(True, np.diff(prompt) != 0) | first)
        turns = np.empty(len(self), dtype=np.int64)
        turns[order] = other - other[np.flatnonzero(first)][np.cumsum(first) - 1] + 1
        return turns

    def take(self, rows: Ints, **changes: Any) -> "RequestTable":
        """The table of these rows, in this order; a row may come several times. `changes` replace whole columns."""
        places = rows.tolist()
        columns: dict[str, Any] = {}
        for field in fields(self):
            column = getattr(self, field.name)
            if isinstance(column, np.ndarray):
                columns[field.name] = column[rows]
            elif isinstance(column, list):
                columns[field.name] = [column[row] for row in places]
        return replace(self, **columns | changes)

    def check(self) -> None:
        """Raise TraceError, naming the column and the row (from 0), unless every promise above holds."""
        rows = len(self.arrival_s)
        if rows == 0:
            raise TraceError(f"the workload ({self.source}) has no requests; it needs at least one")
        self._check_shapes(rows)
        self._check_values()
        if self.segments is not None:
            self._check_segments(self.segments)
        if self.turns is not None:
            self._check_turns(self.turns)

    def _check_shapes(self, rows: int) -> None:
        kinds = {
            "arrival_s": np.float64,
            "prompt_tokens": np.int64,
            "output_tokens": np.int64,
            "priority": np.int64,
        }
        optional = {
            "tenant": np.int64,
            "predicted_tokens": np.int64,
            "cancel_after_s": np.float64,
            "cancel_after_tokens": np.int64,
            "adapter": np.int64,
            "turns": np.int64,
            "pause_s": np.float64,
        }
        kinds |= {name: kind for name, kind in optional.items() if getattr(self, name) is not None}
        for name, kind in kinds.items():
            column = getattr(self, name)
            if column.shape != (rows,) or column.dtype != kind:
                raise TraceError(
                    f"column {name} must be {np.dtype(kind)}[{rows}], not {column.dtype}{list(column.shape)}"
                )
        for name in ("segments", "output_names", "sessions"):
            entries = getattr(self, name)
            if entries is not None and len(entries) != rows:
                raise TraceError(f"{name} has {len(entries)} entries for {rows} requests; give one for each")
        if self.closed_loop is not None:
            if self.closed_loop.users < 1:
                raise TraceError(f"a closed loop needs at least one user, not {self.closed_loop.users}")
            if self.closed_loop.think_s.shape != (rows,):
                raise TraceError(f"think_s has {len(self.closed_loop.think_s)} entries for {rows} requests")

    def _check_values(self) -> None:
        _refuse("arrival_s", self.arrival_s, ~np.isfinite(self.arrival_s) | (self.arrival_s < 0), "a time >= 0")
        back = np.zeros(len(self.arrival_s), dtype=bool)
        back[1:] = self.arrival_s[1:] < self.arrival_s[:-1]
        _refuse("arrival_s", self.arrival_s, back, "at or after the time of the row before")
        if (after := self.cancel_after_s) is not None:
            _refuse("cancel_after_s", after, ~(after > 0), "a time above 0")
        for name in ("prompt_tokens", "output_tokens", "predicted_tokens", "cancel_after_tokens"):
            if (column := getattr(self, name)) is None:
                continue
            _refuse(name, column, (column < 1) | (column > MAX_TOKENS), f"1 to {MAX_TOKENS:,} tokens")
        if self.tenant is not None:
            unknown = (self.tenant < 0) | (self.tenant >= len(self.tenants))
            _refuse("tenant", self.tenant, unknown, f"the index of one of {len(self.tenants)} tenants")
        if self.adapter is not None:
            unknown = (self.adapter < -1) | (self.adapter >= len(self.adapters))
            _refuse("adapter", self.adapter, unknown, f"-1 or the index of one of {len(self.adapters)} adapters")
        if self.closed_loop is not None:
            think = self.closed_loop.think_s
            _refuse("think_s", think, ~np.isfinite(think) | (think < 0), "a time >= 0")
            _refuse("arrival_s", self.arrival_s, self.arrival_s != 0, "0 in a closed loop")

    def _check_turns(self, turns: Ints) -> None:
        if self.pause_s is None or self.sessions is None:
            raise TraceError("turns that wait need sessions and pause_s; give them too")
        _refuse("pause_s", self.pause_s, ~np.isfinite(self.pause_s) | (self.pause_s < 0), "a time >= 0")
        begins = self.session_begins()
        if len(begins) != len(np.unique(self.sessions[self.sessions >= 0])) + int((self.sessions < 0).sum()):
            raise TraceError("column sessions: rows of one session must stand together where turns wait")
        inside = np.ones(len(turns), dtype=bool)
        inside[begins] = False
        steps = np.diff(turns, prepend=0)
        odd = np.where(inside, (steps != 0) & (steps != 1), turns != 1)
        _refuse("turns", turns, odd, "1, 2, ... within its session")
        _refuse("pause_s", self.pause_s, ~inside & (self.pause_s != 0), "0 for the first request of a session")
        apart = inside & (np.diff(self.arrival_s, prepend=0.0) != 0)
        _refuse("arrival_s", self.arrival_s, apart, "its session's start")

    def _check_segments(self, segments: list[Segments | None]) -> None:
        for row, (pieces, tokens) in enumerate(zip(segments, self.prompt_tokens.tolist(), strict=True)):
            if pieces is None:
                continue
            lengths = [length for _, length in pieces]
            if sum(lengths) != tokens or min(lengths) < 1:
                raise TraceError(
                    f"row {row}: segments of {lengths} tokens do not make up a prompt of {tokens}; "
                    "give lengths of at least 1 that add up to it"
                )


def numbered(names: Sequence[str]) -> tuple[tuple[str, ...], Ints]:
    """The distinct names in the order of their first appearance, and for each entry its place among them."""
    places: dict[str, int] = {}
    codes = np.array([places.setdefault(name, len(places)) for name in names], dtype=np.int64)
    return tuple(places), codes


def numbered_or_none(names: Sequence[str | None]) -> tuple[tuple[str, ...], Ints]:
    """The same, -1 for None."""
    places: dict[str, int] = {}
    codes = [-1 if name is None else places.setdefault(name, len(places)) for name in names]
    return tuple(places), np.array(codes, dtype=np.int64)


def _refuse(name: str, column: Floats | Ints, bad: Bools, wanted: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise TraceError(f"column {name}, row {row}: {column[row].item()!r} is not {wanted}")
