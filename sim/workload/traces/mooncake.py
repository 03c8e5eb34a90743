"""Mooncake traces: JSON lines with chained hashes of 512-token blocks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from sim.workload.fields import Tokens
from sim.workload.fileoptions import Signs
from sim.workload.jsonlrows import Convert, JsonlRows
from sim.workload.reading import Columns
from sim.workload.table import RequestTable
from sim.workload.tracecontent import NamedContent
from sim.workload.tracefile import read_trace
from sim.workload.traceoptions import TraceOptions

_COLUMNS = ("hash_ids", "session_id", "priority", "delay")
_BAD_TIME = "not a time (only later turns of a session may have a `delay` in its place)"


@dataclass(frozen=True)
class Mooncake(TraceOptions):
    """Keys timestamp, input_length, output_length and, if known, hash_ids and session_id.

    Each of hash_ids stands for `block_size` tokens and all before it; the last may be cut by the prompt's end.
    Timestamps are milliseconds, or `timestamp_unit: s`. `output_tokens` is for rows that give no output_length. The
    published conversation trace has its arrivals on a grid of 3 s: `jitter: grid` spreads them. A later row of a
    session may have, in place of its timestamp, a delay: it is sent so long after the answer before. With `wait` a
    delay counts even beside a timestamp. What earlier answers left in the cache is known only where a prompt's hash
    was in an earlier prompt. Source: github.com/kvcache-ai/Mooncake; AIPerf and Dynamo write the same keys.
    """

    signs: ClassVar[Signs | None] = Signs("json", frozenset({"timestamp", "input_length"}))

    block_size: Tokens = 512
    """Tokens that one hash id stands for."""
    timestamp_unit: Literal["ms", "s"] = "ms"
    """What timestamps count."""
    output_tokens: Tokens | None = None
    """Answer length of rows that tell none. E.g. `256`."""

    def read(self) -> RequestTable:
        """The requests. Raises TraceError naming file, line and key of a row that cannot be used."""
        return self._read(JsonlRows(Path(self.path), self._placed))

    def _placed(self) -> Convert:
        """Gives rows that wait the latest time so far, and takes delays from those that do not."""
        latest: Any = None
        known: set[Any] = set()

        def place(row: dict[str, Any]) -> dict[str, Any]:
            nonlocal latest
            session, time = row.get("session_id"), row.get("timestamp")
            later = type(session) in (int, str) and session in known
            if later and time is None and row.get("delay") is not None:
                return {**row, "timestamp": latest}
            if type(session) in (int, str):
                known.add(session)
            if type(time) in (int, float):
                latest = time if latest is None else max(latest, time)
            return row if later and self.wait else {**row, "delay": None}

        return place

    def _read(self, rows: JsonlRows) -> RequestTable:
        unit_s = 1e-3 if self.timestamp_unit == "ms" else 1.0
        names = ("timestamp", "input_length", "output_length")
        columns = Columns(*names, _BAD_TIME, unit_s=unit_s, default_output=self.output_tokens)
        content: Any = _Delays(_COLUMNS, self.block_size, hashes="hash_ids")
        content.pause_unit_s = unit_s
        return read_trace(self, rows, columns, content=content)


class _Delays(NamedContent):
    """Block hashes, and delays after the answer before."""

    pause_column: ClassVar[str] = "delay"
