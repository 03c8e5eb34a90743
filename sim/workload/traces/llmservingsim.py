"""LLMServingSim's workloads: JSON lines with nanoseconds and token ids."""

from collections.abc import Generator, Hashable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sim.request import Segments
from sim.workload.fields import Tokens
from sim.workload.fileoptions import Signs
from sim.workload.jsonlrows import JsonlRows
from sim.workload.problems import Problem
from sim.workload.reading import Columns
from sim.workload.rows import Block, Place, Rows
from sim.workload.table import Floats, Ints, RequestTable
from sim.workload.tracecontent import Content
from sim.workload.tracefile import read_trace
from sim.workload.traceoptions import TraceOptions

_COLUMNS = Columns("arrival_time_ns", "input_toks", "output_toks", "not a number of nanoseconds", unit_s=1e-9)


@dataclass(frozen=True)
class Llmservingsim(TraceOptions):
    """Keys arrival_time_ns, input_toks, output_toks and, if known, input_tok_ids.

    Prompts share what their token ids share, in whole blocks of `block_size`: exact for engines whose block size
    is a multiple of it. The `sub_requests` of a session are sent one after another, each the tool_duration_ns of the
    one before it after its answer. Source: github.com/casys-kaist/LLMServingSim.
    """

    signs: ClassVar[Signs | None] = _COLUMNS.signs("json")

    block_size: Tokens = 16
    """Prompts share what their token ids share, in whole blocks of so many tokens."""

    def read(self) -> RequestTable:
        """The requests. Raises TraceError naming file, line and key of a row that cannot be used."""
        return read_trace(self, _Lines(Path(self.path)), _COLUMNS, content=_TokenIds(self.block_size))


class _Lines(JsonlRows):
    """Lines of one request, or of a session with several, which become as many rows."""

    def blocks(self, required: Sequence[str], optional: Sequence[str] = ()) -> Generator[Block, None, None]:
        lines = count()
        for block in JsonlRows(self.path, lambda: _whole).blocks(("rows",)):
            named = ((f"line {next(lines)}", line) for line in block["rows"])
            rows = [_of(name, row) for name, line in named for row in line]
            yield {name: [row.get(name) for row in rows] for name in (*required, *optional)}

    def places(self, rows: Sequence[int]) -> list[Place]:
        lines = [
            len(line) for block in JsonlRows(self.path, lambda: _whole).blocks(("rows",)) for line in block["rows"]
        ]
        ends = np.cumsum(lines)
        return super().places([int(np.searchsorted(ends, row, side="right")) for row in rows])


def _whole(line: dict[str, Any]) -> dict[str, Any]:
    return {"rows": _rows(line)}


def _of(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """A row that waits, or is waited for, is of its line's session if it names none."""
    return {**row, "session_id": name} if "pause" in row and row.get("session_id") is None else row


def _rows(line: dict[str, Any]) -> list[dict[str, Any]]:
    """The requests of a line; later ones of a session with the pause before them."""
    calls = line.get("sub_requests")
    if not isinstance(calls, list) or not calls or not all(isinstance(call, dict) for call in calls):
        return [line]
    if len(calls) == 1:  # no session to speak of
        return [{**line, **calls[0], "session_id": None}]
    pauses = [None, *((call.get("tool_duration_ns") or 0) for call in calls[:-1])]
    return [{**line, **call, "pause": pause} for call, pause in zip(calls, pauses, strict=True)]


class _TokenIds(Content):
    """Blocks of token ids, each named after itself and all before it."""

    pause_column: ClassVar[str] = "pause"
    pause_unit_s = 1e-9

    def __init__(self, block_size: int) -> None:
        super().__init__(("input_tok_ids", "session_id", "pause"))
        self.block_size = block_size
        self.names: dict[tuple[int, tuple[int, ...]], int] = {}

    def problems(self, rows: Rows, block: Block, prompt: Floats) -> Any:
        yield from self._wait_problems(rows, block)
        ids = rows.values(block["input_tok_ids"])
        lists = np.array([i is None or (type(i) is list and set(map(type, i)) <= {int}) for i in ids], dtype=bool)
        yield Problem("input_tok_ids", ~lists, "not a list of whole numbers")
        pairs = zip(ids, prompt.tolist(), strict=True)
        short = np.array([type(i) is list and bool(i) and len(i) != tokens for i, tokens in pairs], dtype=bool)
        yield Problem("input_toks", short, "not the number of input_tok_ids")

    def segments(self, rows: Rows, block: Block, chosen: Ints, prompt: Ints, first: int) -> list[Segments | None]:
        ids = rows.values(block["input_tok_ids"])
        return [self._pieces(ids[row]) if ids[row] else None for row in chosen.tolist()]

    def _pieces(self, ids: list[int]) -> Segments:
        pieces: list[tuple[Hashable, int]] = []
        parent = -1
        for start in range(0, len(ids), self.block_size):
            tokens = tuple(ids[start : start + self.block_size])
            parent = self.names.setdefault((parent, tokens), len(self.names))
            pieces.append((parent, len(tokens)))
        return tuple(pieces)
