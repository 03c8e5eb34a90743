"""The requests of a real run, as they were sent."""

from dataclasses import dataclass, field

from sim.workload.measured.read import read_measured
from sim.workload.table import RequestTable


@dataclass(frozen=True)
class Measured:
    """A file of measurements: CSV, JSON lines, or a detailed `vllm bench serve` result, plain or .gz.

    Arrivals, lengths, prompt_id and prefix_group are replayed; failed requests are sent too. The latencies
    are what `servecast validate` compares.
    """

    path: str
    """The file, plain or .gz. E.g. `requests.csv`."""

    columns: dict[str, str] = field(default_factory=dict)
    """What the file calls its columns, where they are not known by their usual names. E.g.
    `{arrival: ts, e2e: took_ms}`."""

    def read(self) -> RequestTable:
        """The requests. Raises TraceError naming file, row and column of what cannot be used."""
        return read_measured(self.path, self.columns).table
