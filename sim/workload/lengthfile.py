"""Columns of lengths from a CSV or JSONL file without arrival times."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sim.errors import TraceError
from sim.workload.csvrows import CsvRows
from sim.workload.jsonlrows import JsonlRows
from sim.workload.rows import TOKENS_WANTED, Rows, describe, not_tokens
from sim.workload.table import Floats, Ints


def read_tokens(path: str | Path, columns: Sequence[str]) -> list[Ints]:
    """Columns of lengths, each whole and from 1 to MAX_TOKENS. Raises TraceError naming line and value."""
    rows, start = _open_rows(Path(path)), 0
    parts: list[list[Floats]] = [[] for _ in columns]
    for block in rows.blocks(columns):
        for part, name in zip(parts, columns, strict=True):
            numbers = rows.numbers(block[name])
            if (bad := not_tokens(numbers)).any():
                raise TraceError(f"{describe(rows, start + int(bad.argmax()), name)}, {TOKENS_WANTED}")
            part.append(numbers)
        start += len(numbers)
    if ragged := rows.misshapen(None):
        raise TraceError(f"{rows.path}, line {ragged[0].line}: {ragged[0].text}; mend or remove the row")
    if start == 0:
        raise TraceError(f"{rows.path} has a header and no rows; it needs at least one")
    return [np.concatenate(part).astype(np.int64) for part in parts]


def _open_rows(path: Path) -> Rows:
    """CSV or JSONL by the file's name (.jsonl, .json and .ndjson, .gz or not, are JSONL; all else is CSV)."""
    name = path.name.removesuffix(".gz")
    return JsonlRows(path) if name.endswith((".jsonl", ".json", ".ndjson")) else CsvRows(path)
