"""LLMServingSim's workloads: JSON lines with nanoseconds and token ids."""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sim.errors import TraceError
from sim.request import Segments
from sim.workload.fields import Tokens
from sim.workload.fileoptions import Signs
from sim.workload.rows import Block, JsonlRows, Rows
from sim.workload.table import Floats, Ints, RequestTable
from sim.workload.tracecontent import Content, Problem
from sim.workload.tracefile import Columns, TraceOptions, read_trace

_COLUMNS = Columns("arrival_time_ns", "input_toks", "output_toks", "not a number of nanoseconds", unit_s=1e-9)


@dataclass(frozen=True)
class Llmservingsim(TraceOptions):
    """Keys arrival_time_ns, input_toks, output_toks and, if known, input_tok_ids.

    Prompts share what their token ids share, in whole blocks of `block_size`: exact for engines whose block size
    is a multiple of it. Sessions (`sub_requests`) with one request are read; longer ones wait for answers and
    are refused. Source: github.com/casys-kaist/LLMServingSim.
    """

    signs: ClassVar[Signs | None] = _COLUMNS.signs("json")

    block_size: Tokens = 16

    def read(self) -> RequestTable:
        """The requests. Raises TraceError naming file, line and key of a row that cannot be used."""
        rows = JsonlRows(Path(self.path), self._flat)
        return read_trace(self, rows, _COLUMNS, content=_TokenIds(self.block_size))

    def _flat(self, row: dict[str, Any]) -> dict[str, Any]:
        turns = row.get("sub_requests")
        if not isinstance(turns, list) or not turns or not isinstance(turns[0], dict):
            return row
        if len(turns) > 1:
            raise TraceError(
                f"{self.path}: session {row.get('session_id')!r} has {len(turns)} sub_requests, each of which waits "
                "for the answer before; such sessions cannot be replayed; give a file with one request a line"
            )
        return {**row, **turns[0]}


class _TokenIds(Content):
    """Blocks of token ids, each named after itself and all before it."""

    def __init__(self, block_size: int) -> None:
        super().__init__(("input_tok_ids",))
        self.block_size = block_size
        self.names: dict[tuple[int, tuple[int, ...]], int] = {}

    def problems(self, rows: Rows, block: Block, prompt: Floats) -> Any:
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
