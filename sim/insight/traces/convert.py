"""A trace in the plain formats `jsonl` and `csv`, with what its prompts share where the format can say it."""

import csv
import gzip
import json
import os
from collections import Counter
from collections.abc import Hashable, Iterator
from math import isfinite
from pathlib import Path
from typing import IO, Any, Literal

from sim.errors import ServecastError
from sim.request import Segments
from sim.workload.table import RequestTable

Row = dict[str, Any]


def convert(table: RequestTable, to: Literal["jsonl", "csv"], out: Path, drop_content: bool = False) -> None:
    """Write the requests to `out` (compressed if it ends in .gz), whole or not at all; reading it gives them again.

    JSONL holds all: block_hashes where pieces are blocks of one size, segments elsewhere. CSV holds one shared
    beginning per prompt. Raises ServecastError where it cannot hold more, unless content is to be dropped.
    """
    rows = plain_rows(table, to, drop_content)
    draft = out.with_name(f".{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as raw:
            if out.name.endswith(".gz"):
                with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed:
                    _write(packed, rows, to)
            else:
                _write(raw, rows, to)
        os.replace(draft, out)
    except OSError as error:
        raise ServecastError(f"{out} cannot be written ({error.strerror}); choose another place") from error
    finally:
        draft.unlink(missing_ok=True)


def _write(file: Any, rows: Iterator[Row], to: str) -> None:
    lines = _jsonl(rows) if to == "jsonl" else _csv(rows)
    for line in lines:
        file.write(line.encode())


def _jsonl(rows: Iterator[Row]) -> Iterator[str]:
    for row in rows:
        yield json.dumps({key: value for key, value in row.items() if value is not None}) + "\n"


class _Line:
    """Stands for a file of one line, for csv.writer."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text


def _csv(rows: Iterator[Row]) -> Iterator[str]:
    line = _Line()
    file: IO[str] = line  # type: ignore[assignment]
    writer = csv.writer(file, lineterminator="\n")
    for number, row in enumerate(rows):
        if number == 0:
            writer.writerow(row)
            yield line.text
        writer.writerow(["" if value is None else value for value in row.values()])
        yield line.text


def plain_rows(table: RequestTable, to: Literal["jsonl", "csv"], drop_content: bool = False) -> Iterator[Row]:
    """Every request as the keys of a plain format, None for what it has not; the same keys in every row."""
    content = _Content(table, to) if table.segments is not None and not drop_content else None
    columns = zip(table.arrival_s.tolist(), table.prompt_tokens.tolist(), table.output_tokens.tolist(), strict=True)
    priorities = table.priority.tolist() if table.priority.any() else None
    for index, (arrival_s, prompt, output) in enumerate(columns):
        row = {"arrival_s": arrival_s, "prompt_tokens": prompt, "output_tokens": output}
        if priorities is not None:
            row["priority"] = priorities[index]
        if table.sessions is not None:
            session = int(table.sessions[index])
            row["session_id"] = None if session < 0 else session
        if table.turns is not None and table.pause_s is not None:
            row |= {"turn": int(table.turns[index]), "pause_s": float(table.pause_s[index])}
        row |= _client(table, index)
        yield row if content is None else {**row, **content.keys(index)}


def _client(table: RequestTable, index: int) -> Row:
    """Whose a request is, its adapter, what is expected of it and when its client gives up, where the trace tells."""
    row: Row = {}
    if table.tenant is not None:
        row["tenant"] = table.tenants[int(table.tenant[index])]
    if table.adapter is not None:
        adapter = int(table.adapter[index])
        row["adapter"] = None if adapter < 0 else table.adapters[adapter]
    if table.predicted_tokens is not None:
        row["predicted_tokens"] = int(table.predicted_tokens[index])
    if table.cancel_after_s is not None:
        patience_s = float(table.cancel_after_s[index])
        row["cancel_after_s"] = patience_s if isfinite(patience_s) else None
    if table.cancel_after_tokens is not None:
        row["cancel_after_tokens"] = int(table.cancel_after_tokens[index])
    return row


class _Content:
    """What prompts hold, as keys of a plain format."""

    def __init__(self, table: RequestTable, to: str) -> None:
        assert table.segments is not None
        self.table, self.segments, self.to = table, table.segments, to
        self.uses = Counter(name for pieces in table.segments for name, _ in pieces or ())
        self.uses.update(name for name in table.output_names or () if name is not None)
        self.written: dict[Hashable, str] = {}
        self.block_size = self._block_size()

    def keys(self, index: int) -> Row:
        """The keys of one request."""
        pieces = self._shared(self.segments[index])
        if self.to == "csv":
            return self._prefix(pieces, index)
        row: Row = {"block_hashes": None, "block_size": None, "segments": None}
        if self.block_size is not None and pieces:
            row |= {"block_hashes": [self._name(name) for name, _ in pieces], "block_size": self.block_size}
        elif pieces:
            row |= {"segments": [[self._name(name), tokens] for name, tokens in pieces]}
        if self.table.output_names is not None:
            answer = self.table.output_names[index]
            row["output_id"] = None if answer is None or self.uses[answer] < 2 else self._name(answer)
        return row

    def _shared(self, pieces: Segments | None) -> Segments:
        """Without the last piece if it is the prompt's own, which needs no name."""
        if not pieces:
            return ()
        name, _ = pieces[-1]
        own = isinstance(name, tuple) and self.uses[name] == 1
        return pieces[:-1] if own else pieces

    def _name(self, name: Hashable) -> Any:
        """A name that JSON can hold: numbers and texts are kept, all else is numbered."""
        if type(name) in (int, str):
            return name
        return self.written.setdefault(name, f"#{len(self.written)}")

    def _block_size(self) -> int | None:
        """The one size of all pieces but those that a prompt's end cuts; None where there is none."""
        shared = [(self._shared(pieces), row) for row, pieces in enumerate(self.segments)]
        sizes = {tokens for pieces, _ in shared for _, tokens in pieces[:-1]}
        if len(sizes) != 1:
            return None
        (size,) = sizes
        prompts = self.table.prompt_tokens.tolist()
        for pieces, row in shared:
            last = pieces[-1][1] if pieces else size
            if last > size or (last < size and sum(tokens for _, tokens in pieces) < prompts[row]):
                return None
        return size

    def _prefix(self, pieces: Segments, index: int) -> Row:
        answers = self.table.output_names
        if len(pieces) > 1 or (answers is not None and answers[index] is not None and self.uses[answers[index]] > 1):
            raise ServecastError(
                f"row {index} of {self.table.source} shares more than one beginning, which CSV cannot hold; "
                "write --to jsonl, or leave content out with --drop-content"
            )
        name, tokens = pieces[0] if pieces else (None, None)
        return {"prefix_group": None if name is None else self._name(name), "prefix_tokens": tokens}
