"""AIPerf's traces: Mooncake's keys, or texts, with times."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from sim.workload.fields import Positive
from sim.workload.fileoptions import Signs
from sim.workload.jsonlrows import Convert, JsonlRows
from sim.workload.table import RequestTable
from sim.workload.tokens import CHARS_PER_TOKEN, token_counter
from sim.workload.traces.mooncake import Mooncake

_OWN_TEXT = "prompts given as texts share no prefix here"


@dataclass(frozen=True)
class Aiperf(Mooncake):
    """Mooncake's keys, where text_input, text or messages may stand in place of input_length.

    Texts are counted by `tokenizer` (tiktoken:NAME, a tokenizer.json, module:function), or estimated as
    characters / chars_per_token; prompts given as texts share nothing here, not even with equal ones.
    """

    signs: ClassVar[Signs | None] = Signs("json", frozenset({"timestamp", "text_input"}))

    tokenizer: str | None = None
    """Counts the tokens of texts: tiktoken:NAME, a tokenizer.json, or module:function; default: an estimate. E.g.
    `tiktoken:cl100k_base`."""
    chars_per_token: Positive = CHARS_PER_TOKEN
    """The estimate, where there is no tokenizer."""

    def read(self) -> RequestTable:
        """The requests. Raises TraceError naming file, line and key of a row that cannot be used."""
        count, told = token_counter(self.tokenizer, self.chars_per_token)
        counted = False

        def converting() -> Convert:
            place = self._placed()

            def convert(row: dict[str, Any]) -> Mapping[str, Any]:
                nonlocal counted
                placed = place(row)
                text = _text(placed)
                if placed.get("input_length") is None and text:
                    counted = True
                    return {**placed, "input_length": count(text), "hash_ids": None}
                return placed

            return convert

        table = self._read(JsonlRows(Path(self.path), converting))
        return replace(table, notes=(*table.notes, told, _OWN_TEXT)) if counted else table


def _text(row: Mapping[str, Any]) -> str | None:
    """All the text of a row's prompt."""
    for key in ("text_input", "text"):
        if isinstance(row.get(key), str):
            return str(row[key])
    messages = row.get("messages")
    if not isinstance(messages, list):
        return None
    contents: list[Any] = [message.get("content") for message in messages if isinstance(message, dict)]
    return "\n".join(contents) if contents and all(isinstance(c, str) for c in contents) else None
