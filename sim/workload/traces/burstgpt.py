"""BurstGPT: CSV files of ChatGPT and GPT-4 requests of one university."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from sim.workload.csvrows import CsvRows
from sim.workload.fileoptions import Signs
from sim.workload.reading import Columns
from sim.workload.rows import Block, Rows
from sim.workload.table import Bools, RequestTable
from sim.workload.tracecontent import Content
from sim.workload.tracefile import read_trace
from sim.workload.traceoptions import TraceOptions

_COLUMNS = Columns("Timestamp", "Request tokens", "Response tokens")


@dataclass(frozen=True)
class Burstgpt(TraceOptions):
    """Columns Timestamp (s), Request tokens, Response tokens, found by name, so that every version is read.

    `model` (ChatGPT, GPT-4) and `log_type` (Conversation log, API log) keep one kind. Requests that failed
    have 0 response tokens: they are left out and counted, unless empty_outputs says otherwise. Times are whole
    seconds (`jitter: grid` spreads them). Session IDs, where there are any, become sessions; no content is
    known, so nothing is shared. Source: github.com/HPMLL/BurstGPT.
    """

    signs: ClassVar[Signs | None] = _COLUMNS.signs("csv")

    empty_outputs: Literal["bad", "drop", "one"] = "drop"
    """Failed requests have 0 tokens: left out and counted, a bad row, or given one token."""
    model: str | None = None
    """Keep the requests of one model. E.g. `ChatGPT`."""
    log_type: str | None = None
    """Keep one kind of log. E.g. `Conversation log`."""

    def read(self) -> RequestTable:
        """The requests. Raises TraceError naming file, line and column of a row that cannot be used."""
        wanted = {"Model": self.model, "Log Type": self.log_type}
        content = _Chosen({name: value for name, value in wanted.items() if value is not None})
        return read_trace(self, CsvRows(Path(self.path)), _COLUMNS, content=content)


class _Chosen(Content):
    """Rows of one model or log; sessions by their column."""

    session_column: ClassVar[str] = "Session ID"

    def __init__(self, kept: dict[str, str]) -> None:
        super().__init__((*kept, self.session_column))
        self.kept = kept

    def wanted(self, rows: Rows, block: Block, count: int) -> Bools:
        keep = np.ones(count, dtype=bool)
        for name, value in self.kept.items():
            if name in block:
                keep &= np.array([cell == value for cell in rows.values(block[name])], dtype=bool)
        return keep
