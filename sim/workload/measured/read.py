"""A real run, request by request: what was sent, and what the client saw of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sim.errors import TraceError
from sim.request import Segments
from sim.workload.clock import moments
from sim.workload.content import Namer
from sim.workload.measured.columns import as_trace, choose
from sim.workload.measured.sources import Source, open_source
from sim.workload.naming import Column
from sim.workload.rows import TOKENS_WANTED, not_tokens
from sim.workload.table import Bools, Floats, Ints, RequestTable, rounded

_LONGEST_E2E_S = 6 * 3600.0
"""A median answer longer than this is taken for a wrong unit."""

_YES = {"1", "true", "yes", "y", "t", "1.0"}
_NO = {"0", "false", "no", "n", "f", "0.0", "none", "null", ""}


@dataclass(frozen=True, eq=False)
class MeasuredRun:
    """One row per request that was sent, in the order of sending.

    table: the requests, the first at 0 s. ttft_s, e2e_s: f8[n] in seconds, NaN where the request failed.
    answered: b1[n]. itl_s: the gaps between tokens of every request, if the file tells them. stage: the load
    stage of every request as text, if the file has stages. notes: what to know before comparing.
    """

    table: RequestTable
    ttft_s: Floats
    e2e_s: Floats
    answered: Bools
    itl_s: list[Floats] | None
    stage: list[str] | None
    notes: tuple[str, ...]

    @property
    def tpot_s(self) -> Floats:
        """(E2E - TTFT) / (output tokens - 1) in seconds, NaN for one token or none."""
        gaps = self.table.output_tokens - 1
        tpot = np.full(len(gaps), np.nan)
        np.divide(self.e2e_s - self.ttft_s, gaps, out=tpot, where=gaps > 0)
        return tpot


def read_measured(path: str | Path, said: Mapping[str, str] | None = None) -> MeasuredRun:
    """Read a CSV, JSON lines, a JSON list or a detailed `vllm bench serve` result, plain or .gz.

    Columns are known by their usual names, with the unit at the end (arrival_us, ttft_ms, e2e_s), others by what is
    `said`; time stamps may be dates. A failed request is sent as load and has no latencies. Raises TraceError, naming
    file, row and column, for what cannot be used.
    """
    source = open_source(Path(path))
    columns = choose(source.names, Path(path), said)
    source.load([column.name for column in columns.values()])
    if odd := source.misshapen():
        raise TraceError(f"{odd[0]}; mend or remove the row")
    return _Reader(Path(path), source, columns).run()


class _Reader:
    """One file with its columns known by role."""

    def __init__(self, path: Path, source: Source, columns: dict[str, Column]) -> None:
        self.path, self.source, self.columns = path, source, columns
        self.notes = list(source.notes)

    def run(self) -> MeasuredRun:
        arrival_s, ttft_s, e2e_s = self._times()
        if not len(arrival_s):
            raise TraceError(f"{self.path} has no rows of requests; it needs at least one")
        answered = ~self._failed(len(arrival_s))
        outputs = self._outputs(answered)
        silent = answered & (np.isnan(ttft_s) | np.isnan(e2e_s))
        if silent.all():
            told = f"{self.path}: no request has both a TTFT and an E2E latency, so nothing can be compared"
            raise TraceError(f"{told}; as traffic alone it is a trace: {as_trace(self.path)}")
        if silent.any():
            self.notes.append(f"{int(silent.sum())} requests without latencies are taken as failed")
            answered &= ~silent
        self._refuse_nonsense(answered, ttft_s, e2e_s)
        prompts = self._prompts()
        order = np.argsort(arrival_s, kind="stable")
        table = RequestTable(
            arrival_s=rounded(arrival_s[order] - arrival_s[order[0]]),
            prompt_tokens=prompts[order],
            output_tokens=outputs[order],
            priority=self._priorities(len(order))[order],
            segments=self._segments(prompts, order),
            source=self.path.name,
            notes=tuple(self.notes),
        )
        table.check()
        itl, stage = self._gaps(answered), self._values("stage")
        return MeasuredRun(
            table=table,
            ttft_s=np.where(answered, ttft_s, np.nan)[order],
            e2e_s=np.where(answered, e2e_s, np.nan)[order],
            answered=answered[order],
            itl_s=None if itl is None else [itl[i] for i in order],
            stage=None if stage is None else ["" if stage[i] is None else str(stage[i]) for i in order],
            notes=tuple(self.notes),
        )

    def _times(self) -> tuple[Floats, Floats, Floats]:
        """Arrival on any clock, TTFT and E2E, in seconds; NaN where a latency is not given."""
        arrival, guessed = self._moments("arrival")
        if (bad := ~np.isfinite(arrival)).any():
            raise self._refuse("arrival", bad, "no time, so nobody knows when it was sent")
        ttft = self._seconds("ttft") if "ttft" in self.columns else self._since("first_token_at", arrival)
        if "e2e" in self.columns:
            e2e = self._seconds("e2e")
        elif "finish_at" in self.columns:
            e2e = self._since("finish_at", arrival)
        else:
            e2e = ttft + self._seconds("tpot") * (self._numbers("output_tokens") - 1)
        roles = ("arrival", "ttft", "e2e") if guessed else ("ttft", "e2e")
        used = [self.columns[role] for role in roles if role in self.columns]
        if unsaid := [column.name for column in used if not column.says_unit]:
            if np.nanmedian(e2e) > _LONGEST_E2E_S:
                raise TraceError(f"{self.path}: {', '.join(unsaid)} cannot be seconds; name the unit, as in e2e_ms")
            self.notes.append(f"{', '.join(unsaid)} name no unit and are taken as seconds")
        return arrival, ttft, e2e

    def _since(self, role: str, arrival: Floats) -> Floats:
        """Seconds from sending to a time stamp; another clock is met where a request queued soonest."""
        stamps, _ = self._moments(role)
        if "queued_at" in self.columns:
            queued = self._moments("queued_at")[0] - arrival
            stamps = stamps - (float(np.nanmin(queued)) if abs(float(np.nanmedian(queued))) > _LONGEST_E2E_S else 0.0)
        return stamps - arrival

    def _refuse_nonsense(self, answered: Bools, ttft_s: Floats, e2e_s: Floats) -> None:
        if (bad := answered & ~((ttft_s > 0) & np.isfinite(ttft_s))).any():
            raise self._refuse("ttft", bad, "not a time above 0; mark the request as failed, or mend it")
        if (bad := answered & ~((e2e_s >= ttft_s * (1 - 1e-6)) & np.isfinite(e2e_s))).any():
            raise self._refuse("e2e", bad, "less than the time to the first token; do units agree?")

    def _failed(self, count: int) -> Bools:
        failed = np.zeros(count, dtype=bool)
        for role, bad_if in (("failed", True), ("success", False)):
            for row, value in enumerate(self._values(role) or ()):
                failed[row] |= self._is_true(role, row, value, default=not bad_if) == bad_if
        for row, value in enumerate(self._values("error") or ()):
            failed[row] |= value is not None and str(value).strip().lower() not in _NO
        return failed

    def _is_true(self, role: str, row: int, value: Any, default: bool) -> bool:
        if value is None:
            return default
        word = str(value).strip().lower()
        if word not in _YES | _NO:
            raise self._refuse(role, np.arange(row + 1) == row, "neither true nor false")
        return word in _YES

    def _outputs(self, answered: Bools) -> Ints:
        """Whole tokens; what failed without any is sent for one token."""
        numbers = self._numbers("output_tokens")
        none = np.isnan(numbers) | (numbers == 0)
        answered &= ~none
        numbers = np.where(~answered & none, 1.0, numbers)
        return self._whole("output_tokens", numbers)

    def _prompts(self) -> Ints:
        return self._whole("prompt_tokens", self._numbers("prompt_tokens"))

    def _priorities(self, count: int) -> Ints:
        if "priority" not in self.columns:
            return np.zeros(count, dtype=np.int64)
        numbers = self._numbers("priority")
        return np.where(np.isnan(numbers), 0, numbers).astype(np.int64)

    def _gaps(self, answered: Bools) -> list[Floats] | None:
        lists, column = self._values("itl"), self.columns.get("itl")
        if lists is None or column is None or not any(isinstance(gaps, list) for gaps in lists):
            return None
        return [
            np.array(gaps, dtype=np.float64) / column.per_second if good and isinstance(gaps, list) else np.empty(0)
            for gaps, good in zip(lists, answered, strict=True)
        ]

    def _segments(self, prompts: Ints, order: Ints) -> list[Segments | None] | None:
        """What prompts share: equal ids, equal prompts (of two lengths: the shorter begins the longer)."""
        ids, groups, namer = self._values("prompt_id"), self._values("prefix_group"), Namer()
        shared = self._numbers("prefix_tokens") if "prefix_tokens" in self.columns else None
        if ids is None and groups is None:
            self.notes.append("the file names no prompts, so none shares content with another")
            return None
        found: list[Segments | None] = []
        for row in order.tolist():
            tokens = int(prompts[row])
            if ids is not None and ids[row] is not None:
                found.append(namer.prompt(ids[row], tokens))
            elif groups is not None and groups[row] is not None and shared is not None and shared[row] > 0:
                found.append(namer.prefix(groups[row], min(int(shared[row]), tokens), row, tokens))
            else:
                found.append(None)
        return found

    def _whole(self, role: str, numbers: Floats) -> Ints:
        if (bad := not_tokens(numbers)).any():
            raise self._refuse(role, bad, TOKENS_WANTED)
        return numbers.astype(np.int64)

    def _moments(self, role: str) -> tuple[Floats, bool]:
        column = self.columns[role]
        return moments(self.source.numbers(column.name), self.source.values(column.name), column)

    def _seconds(self, role: str) -> Floats:
        column = self.columns[role]
        return self.source.numbers(column.name) / column.per_second

    def _numbers(self, role: str) -> Floats:
        return self.source.numbers(self.columns[role].name)

    def _values(self, role: str) -> list[Any] | None:
        """A column's values, None when there is none or all of it is blank."""
        if role not in self.columns:
            return None
        values = self.source.values(self.columns[role].name)
        return None if all(value is None for value in values) else values

    def _refuse(self, role: str, bad: Bools, what: str) -> TraceError:
        row, others = int(bad.argmax()), int(bad.sum()) - 1
        name = self.columns[role].name if role in self.columns else role
        alike = f" (and {others:,} more row{'s' * (others > 1)} like it)" if others else ""
        value = self.source.values(name)[row] if role in self.columns else "derived"
        return TraceError(f"{self.source.where(row)}: {name} is {value!r}, {what}{alike}")
