"""A plain JSONL file of requests."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sim.workload.fields import Tokens
from sim.workload.fileoptions import Signs
from sim.workload.jsonlrows import JsonlRows
from sim.workload.plain import COLUMNS, PlainOptions, read_plain
from sim.workload.reading import Columns
from sim.workload.table import RequestTable
from sim.workload.tracecontent import NamedContent


@dataclass(frozen=True)
class Jsonl(PlainOptions):
    """One object a line, or a list of them.

    Keys arrival_s, prompt_tokens, output_tokens: as in csv on any clock and by their usual names, in any order.

    A key of an object inside is written with a dot (`columns: {prompt_tokens: usage.prompt_tokens}`).
    Optional keys: priority, session_id, in later rows of a session pause_s (sent so long after the answers to the turn
    before, whatever arrival_s says) with turn (rows of one turn are sent side by side), and one of prompt_id,
    prefix_group with prefix_tokens, block_hashes (a list with one id for each `block_size` tokens: equal ids, equal
    tokens; `block_size` is given here or, where it is not, in every such row) or segments (a list of [name, tokens]).
    output_id names an answer that later segments repeat.
    """

    signs: ClassVar[Signs | None] = Columns().signs("json")

    block_size: Tokens | None = None
    """Tokens that one block hash stands for. E.g. `16`."""

    def rows(self) -> JsonlRows:
        """The file's rows."""
        return JsonlRows(Path(self.path))

    def read(self) -> RequestTable:
        """The requests. Raises TraceError naming file, line and key of a row that cannot be used."""
        return read_plain(self, NamedContent(columns=COLUMNS, block_size=self.block_size))
