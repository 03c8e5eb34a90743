"""Azure LLM inference traces: the CSV files of 2023 and 2024, and the multimodal ones of 2025."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from sim.workload.fileoptions import Signs
from sim.workload.rows import CsvRows
from sim.workload.table import Floats, RequestTable
from sim.workload.tracefile import Columns, TraceOptions, read_trace

_COLUMNS = Columns("TIMESTAMP", "ContextTokens", "GeneratedTokens", "not a timestamp")
_IMAGES = "the trace's requests carry images; only their ContextTokens are simulated, image encoding is not"
_NO_TIME = np.iinfo(np.int64).min  # pandas' NaT


@dataclass(frozen=True)
class Azure(TraceOptions):
    """An Azure trace: TIMESTAMP, ContextTokens, GeneratedTokens, found by name.

    Arrivals count from the first row's timestamp. All spellings are read: `2023-11-16 18:15:46.6805900`
    (taken as UTC), `2024-05-10 00:00:00.009930+00:00`, `2024-10-15T12:00:00.269Z`. Prompts share nothing,
    for the files tell no content. Source: github.com/Azure/AzurePublicDataset.
    """

    signs: ClassVar[Signs | None] = _COLUMNS.signs("csv")

    def read(self) -> RequestTable:
        """The requests. Raises TraceError naming file, line and column of a row that cannot be used."""
        rows = CsvRows(Path(self.path))
        table = read_trace(self, rows, _COLUMNS, clock=_SinceFirst())
        if "NumImages" in rows.header():
            table = replace(table, notes=(*table.notes, _IMAGES))
        return table


@dataclass
class _SinceFirst:
    """Seconds since the first timestamp, exact to 100 ns before the one division."""

    first_ns: int = field(default=_NO_TIME)

    def __call__(self, column: Any) -> Floats:
        parsed = pd.to_datetime(
            pd.Series(column.to_pylist(), dtype=object), format="ISO8601", utc=True, errors="coerce"
        )
        ns = parsed.dt.as_unit("ns").to_numpy(dtype="datetime64[ns]").astype(np.int64)
        good = ns != _NO_TIME
        if self.first_ns == _NO_TIME and good.any():
            self.first_ns = int(ns[good.argmax()])
        seconds: Floats = np.where(good, (ns - self.first_ns) / 1e9, np.nan)
        return seconds
