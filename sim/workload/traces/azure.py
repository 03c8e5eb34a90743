"""Azure LLM inference traces: the CSV files of 2023 and 2024, and the multimodal ones of 2025."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from sim.workload.clock import AnyTimes
from sim.workload.csvrows import CsvRows
from sim.workload.fileoptions import Signs
from sim.workload.naming import Column
from sim.workload.reading import Columns
from sim.workload.table import RequestTable
from sim.workload.tracefile import read_trace
from sim.workload.traceoptions import TraceOptions

_COLUMNS = Columns("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_IMAGES = "the trace's requests carry images; only their ContextTokens are simulated, image encoding is not"


@dataclass(frozen=True)
class Azure(TraceOptions):
    """An Azure trace: TIMESTAMP, ContextTokens, GeneratedTokens, found by name.

    Arrivals count from the first timestamp. All spellings are read: `2023-11-16 18:15:46.6805900`
    (taken as UTC), `2024-05-10 00:00:00.009930+00:00`, `2024-10-15T12:00:00.269Z`. Prompts share nothing,
    for the files tell no content. Source: github.com/Azure/AzurePublicDataset.
    """

    signs: ClassVar[Signs | None] = _COLUMNS.signs("csv")

    def read(self) -> RequestTable:
        """The requests. Raises TraceError naming file, line and column of a row that cannot be used."""
        rows = CsvRows(Path(self.path))
        table = read_trace(self, rows, _COLUMNS, clock=AnyTimes("TIMESTAMP", Column("TIMESTAMP")))
        if "NumImages" in rows.header():
            table = replace(table, notes=(*table.notes, _IMAGES))
        return table
