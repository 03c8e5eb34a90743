"""Alibaba's Qwen-Bailian traces: JSON lines with hashes of 16-token blocks and chats."""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from sim.workload.fileoptions import Signs
from sim.workload.jsonlrows import JsonlRows
from sim.workload.reading import Columns
from sim.workload.rows import Block, Rows
from sim.workload.table import Bools, Ints, RequestTable
from sim.workload.tracecontent import NamedContent
from sim.workload.tracefile import read_trace
from sim.workload.traceoptions import TraceOptions

_BLOCK_TOKENS = 16


@dataclass(frozen=True)
class Bailian(TraceOptions):
    """Keys timestamp (seconds), input_length, output_length, hash_ids, chat_id and parent_chat_id.

    `type` keeps one kind of request (text, search, image, file, ...). A session is a chat and those that go
    on from it; one whose parent is not in the file begins its own. Turns are replayed at their recorded
    times. Source: github.com/alibaba-edu/qwen-bailian-usagetraces-anon.
    """

    signs: ClassVar[Signs | None] = Signs("json", frozenset({"timestamp", "input_length", "chat_id"}))

    type: str | None = None
    """Keep one kind of request: text, search, image, file, ... E.g. `text`."""

    def read(self) -> RequestTable:
        """The requests. Raises TraceError naming file, line and key of a row that cannot be used."""
        columns = Columns("timestamp", "input_length", "output_length")
        return read_trace(self, JsonlRows(Path(self.path)), columns, content=_Chats(self.type))


class _Chats(NamedContent):
    """Block hashes, and each chat's root."""

    def __init__(self, kind: str | None) -> None:
        super().__init__(("hash_ids", "chat_id", "parent_chat_id", "type"), _BLOCK_TOKENS, "hash_ids")
        self.kind = kind
        self.roots: dict[int, int] = {}

    def wanted(self, rows: Rows, block: Block, count: int) -> Bools:
        kinds = rows.values(block["type"])
        return np.array([self.kind is None or kind == self.kind for kind in kinds], dtype=bool)

    def sessions(self, rows: Rows, block: Block, chosen: Ints) -> list[Hashable | None]:
        chats, parents = rows.values(block["chat_id"]), rows.values(block["parent_chat_id"])
        for chat, parent in zip(chats, parents, strict=True):  # those left out may be parents too
            if isinstance(chat, int):
                self.roots.setdefault(chat, self.roots.get(parent, chat) if isinstance(parent, int) else chat)
        return [self.roots.get(chats[row]) if isinstance(chats[row], int) else None for row in chosen.tolist()]
