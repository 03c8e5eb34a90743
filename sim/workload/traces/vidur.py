"""Vidur's processed traces."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sim.workload.csvrows import CsvRows
from sim.workload.fileoptions import Signs
from sim.workload.reading import Columns
from sim.workload.table import RequestTable
from sim.workload.tracefile import read_trace
from sim.workload.traceoptions import TraceOptions

_COLUMNS = Columns("arrived_at", "num_prefill_tokens", "num_decode_tokens")


@dataclass(frozen=True)
class Vidur(TraceOptions):
    """Columns arrived_at (s), num_prefill_tokens, num_decode_tokens.

    Vidur's files of lengths alone have no times: take `lengths: {empirical: {path: ..., prompt_column:
    num_prefill_tokens, output_column: num_decode_tokens}}` with arrivals. Source: github.com/microsoft/vidur.
    """

    signs: ClassVar[Signs | None] = _COLUMNS.signs("csv")

    def read(self) -> RequestTable:
        """The requests. Raises TraceError naming file, line and column of a row that cannot be used."""
        return read_trace(self, CsvRows(Path(self.path)), _COLUMNS)
