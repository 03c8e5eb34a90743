"""A plain CSV file of requests."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sim.errors import TraceError
from sim.workload.fileoptions import Signs
from sim.workload.rows import CsvRows
from sim.workload.table import RequestTable
from sim.workload.tracecontent import NamedContent
from sim.workload.tracefile import Columns, TraceOptions, read_trace


@dataclass(frozen=True)
class Csv(TraceOptions):
    """Columns arrival_s (seconds from 0, sorted), prompt_tokens, output_tokens, in any order.

    Optional columns: priority (lower is more urgent), session_id, with turn and pause_s (as in jsonl), prompt_id,
    prefix_group with prefix_tokens, and, as in any trace, tenant, adapter (LoRA), predicted_tokens, cancel_after_s,
    cancel_after_tokens; blank cells are left out. Other columns are ignored. `jsonl` also takes block hashes.
    """

    signs: ClassVar[Signs | None] = Columns().signs("csv")

    def read(self) -> RequestTable:
        """The requests. Raises TraceError naming file, line and column of a row that cannot be used."""
        rows = CsvRows(Path(self.path))
        if "block_hashes" in rows.header():
            raise TraceError(f"{self.path}, line 1: block_hashes are lists, which need a JSONL trace")
        return read_trace(self, rows, Columns(), content=NamedContent())
