"""The requests of a real run, as they were sent."""

from dataclasses import dataclass

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

    def read(self) -> RequestTable:
        """The requests. Raises TraceError naming file, row and column of what cannot be used."""
        return read_measured(self.path).table
