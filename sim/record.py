"""What a run leaves behind: one row per request, one per run of like steps, and all token gaps.

Rows are packed into byte buffers with one call each and become numpy columns at the end.
"""

import struct
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.engine.plan import StepPlan
from sim.latency import StepTime
from sim.request import Request

STATUS = ("unfinished", "finished", "rejected", "cancelled", "timed_out", "failed", "refused")
"""Names of the `status` codes: a request always is in exactly one of these states.

Rejected: its prompt was too long; cancelled: its client gave up; timed out: the server gave up; failed: its replica
crashed, or there was none any more; refused: an admission rule kept it out, and its client tries no more."""

LIFE = ("serving", "loading", "down", "gone")
"""Names of the `state` codes of a replica's life: what its GPUs are held for, until it is gone."""

Columns = dict[str, NDArray[Any]]
"""A table: columns of equal length by name."""

_REQUEST = np.dtype(
    [
        ("arrival_s", "<f8"), ("scheduled_s", "<f8"), ("first_token_s", "<f8"), ("finish_s", "<f8"),
        ("prompt_tokens", "<i8"), ("output_tokens", "<i8"), ("generated_tokens", "<i8"),
        ("cached_tokens", "<i8"), ("recomputed_tokens", "<i8"), ("priority", "<i8"),
        ("replica", "<i4"), ("preemptions", "<i4"), ("requeues", "<i4"), ("tenant", "<i4"),
        ("status", "<i1"), ("measured", "?"),
    ]
)  # fmt: skip
_pack_request = struct.Struct("<4d6q4ib?").pack_into

_STEP = np.dtype(
    [
        ("start_s", "<f8"), ("end_s", "<f8"), ("host_s", "<f8"), ("comm_s", "<f8"), ("padding_s", "<f8"),
        ("window_s", "<f8"), ("transfer_s", "<f8"), ("bubble_s", "<f8"), ("steps", "<i8"), ("context_tokens", "<i8"),
        ("attention_pairs", "<i8"), ("prefill_context_tokens", "<i8"), ("prefill_tokens", "<i8"),
        ("recomputed_tokens", "<i8"),
        ("padding_tokens", "<i8"), ("kv_used_blocks", "<i8"), ("kv_tokens", "<i8"), ("prefills", "<i4"),
        ("decodes", "<i4"), ("sampled", "<i4"), ("running", "<i4"), ("preempted", "<i4"), ("replica", "<i4"),
        ("extrapolated", "?"),
    ]
)  # fmt: skip
_pack_step = struct.Struct("<8d9q6i?").pack
_pack_decodes = struct.Struct("<5d24x2q32x3q4x3i4xi?").pack
"""The same for plain decode steps: x bytes are zeros, in columns that they do not have."""

GAP_SHIFT = 43
"""A token gap's bin is its float64 bits shifted by this: 9 bits of mantissa, bins 0.2% wide."""


@dataclass(frozen=True)
class Record:
    """The tables of one run, as numpy columns.

    `requests` has one row per request that was sent, in the order of arrival. `steps` has one row per run of like
    steps, in the order of their start; `host_s`, `comm_s`, `padding_s` and the token counts are per
    step, `context_tokens`, `attention_pairs` and `prefill_context_tokens` sums over the whole row.
    `transfer_s` is how long the step waited for KV to move between GPU and host; `window_s` how long, right before
    the row, requests were held back to make a larger batch. Rows of a pipeline last from the return of one batch to
    that of the next, with the batch's parts as means over the stages; `bubble_s` is what is left, more or less than
    nothing in one row, and the time that stages stood still in all. `padding_tokens` are computed for nobody and in no
    other column. `kv_used_blocks` and the `kv_tokens` that lie in them are those of the row's last step; `kv_grows`
    is off where a request's blocks are all reserved at once.
    `replicas` has one row per replica that ever was: its `pool` (an index of `pools`), `gpus`, `kv_blocks`,
    `block_size` and `kv_grows`. `lives` has the stretches of their lives, `state` being an index of LIFE.
    `itl_counts[i]` token gaps of measured requests lie in bin `itl_bins[i]` (float64 bits >> GAP_SHIFT).
    """

    requests: Columns
    steps: Columns
    itl_bins: NDArray[np.int64]
    itl_counts: NDArray[np.int64]
    replicas: Columns
    lives: Columns
    pools: tuple[str, ...]
    makespan_s: float
    tenants: tuple[str, ...]
    """The names that `requests["tenant"]` indexes."""
    counters: dict[str, int]
    waits: Columns = field(default_factory=lambda: waits_table([]))
    """Stretches in which a replica had requests, and none could run before KV had been moved between replicas."""
    pauses: Columns = field(default_factory=lambda: pauses_table([]))
    """Where a request (`request` is its id) got no token from `start_s` to `end_s`, its tokens before and after: it was
    preempted, or the step's token budget was used up. Steps in which nobody decodes pause nobody. Neither a pipeline's
    replicas nor data-parallel ranks note any."""
    links: Columns = field(default_factory=dict)
    """The ports through which that KV went: `bytes_per_s`, `carried_bytes`, `busy_s`."""


def waits_table(rows: list[tuple[int, float, float]]) -> Columns:
    """(replica, start, end) as columns."""
    columns = np.array(rows, np.float64).reshape(-1, 3).T
    return {"replica": columns[0].astype(np.int64), "start_s": columns[1], "end_s": columns[2]}


def pauses_table(of_replicas: "Iterable[array[float]]") -> Columns:
    """(request, start, end), one after another, as columns by start and request."""
    columns = np.concatenate([np.zeros(0), *of_replicas]).reshape(-1, 3).T
    order = np.lexsort((columns[0], columns[1]))
    return {
        "request": columns[0][order].astype(np.int64), "start_s": columns[1][order], "end_s": columns[2][order],
    }  # fmt: skip


class RequestLog:
    """One row per request, filled in when it leaves."""

    __slots__ = ("buffer", "rows")

    def __init__(self, count: int) -> None:
        self.rows = np.zeros(count, _REQUEST)
        self.buffer = self.rows.data.cast("B") if count else memoryview(b"")

    def write(self, request: Request, replica: int, status: str) -> None:
        """Note how the request ended."""
        _pack_request(
            self.buffer, request.id * _REQUEST.itemsize,
            request.arrival_s, request.scheduled_s, request.first_token_s, request.finish_s,
            request.prompt_tokens, request.output_tokens, request.generated_tokens,
            request.cached_tokens, request.recomputed_tokens, request.priority,
            replica, request.preemptions, request.requeues, request.tenant, STATUS.index(status), request.measured,
        )  # fmt: skip

    def arrived_before(self, first_s: Mapping[int, float]) -> None:
        """Note when those that were sent several times were first sent, by their id."""
        for row, arrival_s in first_s.items():
            self.rows["arrival_s"][row] = arrival_s

    def columns(self) -> dict[str, NDArray[Any]]:
        """The rows as columns, by arrival and id; without those that were never sent."""
        sent = np.flatnonzero(self.rows["status"])
        order = sent[np.argsort(self.rows["arrival_s"][sent], kind="stable")]
        columns: dict[str, NDArray[Any]] = {"id": order.astype(np.int64)}
        for name in _REQUEST.names or ():
            columns[name] = self.rows[name][order]
        columns["status"] = np.array(STATUS)[columns["status"]]
        return columns


KVUse = tuple[int, int]
"""KV memory of running requests at the end of a step: blocks taken, and tokens that lie in them."""


class StepLog:
    """The steps of one replica; pure decode steps of the same batch that follow each other share a row."""

    __slots__ = (
        "_context",
        "_end_s",
        "_key",
        "_kv",
        "_padding_context",
        "_rows",
        "_start_s",
        "_steps",
        "engine_steps",
        "replica",
    )

    def __init__(self, replica: int) -> None:
        self.replica = replica
        self.engine_steps = 0
        self._rows = bytearray()
        self._key: tuple[float, ...] | None = None  # of the decode row that may still grow
        self._start_s = self._end_s = 0.0
        self._steps = self._context = self._padding_context = 0
        self._kv: KVUse = (0, 0)

    def decodes(
        self, start_s: float, end_s: float, steps: int, decodes: int, context_tokens: int, running: int,
        kv: KVUse, time: StepTime, padding_decodes: int = 0, padding_context_tokens: int = 0,
    ) -> None:  # fmt: skip
        """Note `steps` decode steps of `decodes` requests; the first attended to `context_tokens`.

        Padding comes on top of both.
        """
        self.engine_steps += steps
        growths = steps * (steps - 1) // 2
        context = steps * context_tokens + decodes * growths
        padding_context = steps * padding_context_tokens + padding_decodes * growths
        key = (decodes, padding_decodes, running, *time[1:])  # all of the time that is the same for each of them
        if key == self._key and start_s == self._end_s:
            self._steps += steps
            self._context += context
            self._padding_context += padding_context
        else:
            self._flush()
            self._key = key
            self._start_s = start_s
            self._steps = steps
            self._context = context
            self._padding_context = padding_context
        self._end_s = end_s
        self._kv = kv

    def mixed(
        self, start_s: float, end_s: float, plan: StepPlan, running: int, kv: KVUse, time: StepTime,
        window_s: float, transfer_s: float = 0.0, *, sampled: int | None = None, bubble_s: float = 0.0,
    ) -> None:  # fmt: skip
        """Note one step that is not a plain decode step, before which requests were held back for `window_s`.

        It waited for `transfer_s` for KV that moved between GPU and host. `sampled`: rows through the LM head, where
        that is known before the step is launched.
        """
        self._flush()
        self.engine_steps += 1
        decodes, context, rows = plan.decodes, plan.decode_context_tokens, plan.decodes
        prefills = prefill_tokens = prefill_context = pairs = recomputed = 0
        for request, new, before in plan.chunks:
            after = before + new
            if before < request.high_water_tokens:
                recomputed += min(after, request.high_water_tokens) - before
            if request in plan.gained:
                new = plan.gained[request]  # what was refused is padding
                decodes += new
                rows += new - 1
                context += new * before + new * (new + 1) // 2
                continue
            if new == 1 and before >= request.prompt_tokens:
                decodes += 1
                context += after
            else:
                prefills += 1
                prefill_tokens += new
                prefill_context += after
                pairs += new * before + new * (new + 1) // 2
        rows = rows + len(plan.sampled) if sampled is None else sampled
        self._rows += _pack_step(
            start_s, end_s, time.exposed_host_s(context), time.comm_s, time.padding_s, window_s, transfer_s, bubble_s,
            1, context, pairs,
            prefill_context, prefill_tokens, recomputed, plan.padding_tokens, *kv, prefills,
            decodes, rows, running, len(plan.preempted), self.replica, time.extrapolated,
        )  # fmt: skip

    def _flush(self) -> None:
        if self._key is None:
            return
        decodes, padding, running, host_s, comm_s, padding_s, extrapolated, host_per_context_s = self._key
        host_s += host_per_context_s * ((self._context + self._padding_context) / self._steps)
        self._rows += _pack_decodes(
            self._start_s, self._end_s, host_s, comm_s, padding_s, self._steps, self._context,
            padding, *self._kv, decodes, decodes, running, self.replica, extrapolated,
        )  # fmt: skip
        self._key = None

    def columns(self) -> dict[str, NDArray[Any]]:
        """All rows so far as columns, in the order of time."""
        self._flush()
        rows = np.frombuffer(bytes(self._rows), _STEP)
        return {name: rows[name] for name in _STEP.names or ()}


def step_columns(logs: list[StepLog]) -> dict[str, NDArray[Any]]:
    """The rows of all replicas as columns, by start and replica; a column that a log does not have is 0 for it."""
    columns = [log.columns() for log in logs]
    rows = {
        name: np.concatenate([each.get(name, np.zeros(len(each["steps"]), np.int64)) for each in columns])
        for name in max(columns, key=len)
    }
    order = np.lexsort((rows["replica"], rows["start_s"]))
    return {name: column[order] for name, column in rows.items()}


class GapLog:
    """Inter-token gaps, pooled over requests, in a histogram with bins of equal relative width.

    Bins are cut from the float's own bits and counts are integers, so neither the machine's libm nor
    the grouping of additions can change the result.
    """

    __slots__ = ("_counts", "_gaps_s", "_lengths", "_weights")

    _FULL = 1 << 16

    def __init__(self) -> None:
        self._gaps_s: list[float] = []
        self._weights: list[int] = []  # tokens per gap, once for each of the runs that `_lengths` tells
        self._lengths: list[int] = []
        self._counts: dict[int, int] = {}

    def add(self, gap_s: float, count: int) -> None:
        """Note `count` tokens that came `gap_s` after the one before."""
        self._gaps_s.append(gap_s)
        self._weights.append(count)
        self._lengths.append(1)
        if len(self._gaps_s) >= self._FULL:
            self._flush()

    def add_run(self, gaps_s: list[float], count: int) -> None:
        """Note `count` tokens for each of the gaps."""
        self._gaps_s.extend(gaps_s)
        self._weights.append(count)
        self._lengths.append(len(gaps_s))
        if len(self._gaps_s) >= self._FULL:
            self._flush()

    def _flush(self) -> None:
        bins, place = np.unique(np.array(self._gaps_s).view(np.int64) >> GAP_SHIFT, return_inverse=True)
        counts = np.zeros(len(bins), np.int64)
        np.add.at(counts, place, np.repeat(self._weights, self._lengths))
        for key, count in zip(bins.tolist(), counts.tolist(), strict=True):
            self._counts[key] = self._counts.get(key, 0) + count
        self._gaps_s, self._weights, self._lengths = [], [], []

    def histogram(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The bins in rising order, and how many gaps lie in each."""
        if self._gaps_s:
            self._flush()
        bins = sorted(key for key, count in self._counts.items() if count)
        return np.array(bins, np.int64), np.array([self._counts[key] for key in bins], np.int64)
