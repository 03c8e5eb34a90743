"""A plain CSV file of requests."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sim.errors import TraceError
from sim.workload.csvrows import CsvRows
from sim.workload.fileoptions import Signs
from sim.workload.plain import PlainOptions, read_plain
from sim.workload.reading import Columns
from sim.workload.table import RequestTable
from sim.workload.tracecontent import NamedContent


@dataclass(frozen=True)
class Csv(PlainOptions):
    """A header line, then one row per request in any order; commas, semicolons or tabs.

    `arrival_s` counts seconds from the trace's beginning. Times on any other clock (seconds, arrival_ms, ..., since
    1970 or not, or dates such as 2024-05-01T12:00:00Z) count from the first. `prompt_tokens` and `output_tokens` are
    also known by their usual names (input_tokens, completion_tokens, ...), others by `columns`. Optional columns:
    priority (lower is more urgent), session_id, with turn and pause_s (as in jsonl), prompt_id, prefix_group with
    prefix_tokens, and, as in any trace, tenant, adapter (LoRA), predicted_tokens, cancel_after_s, cancel_after_tokens;
    blank cells are left out. Other columns are ignored. `jsonl` also takes block hashes.
    """

    signs: ClassVar[Signs | None] = Columns().signs("csv")

    def rows(self) -> CsvRows:
        """The file's rows. Raises TraceError where they hold lists."""
        rows = CsvRows(Path(self.path))
        if "block_hashes" in rows.header():
            raise TraceError(f"{self.path}, line 1: block_hashes are lists, which need a JSONL trace")
        return rows

    def read(self) -> RequestTable:
        """The requests. Raises TraceError naming file, line and column of a row that cannot be used."""
        return read_plain(self, NamedContent())
