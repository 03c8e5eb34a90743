"""The plain formats, `csv` and `jsonl`: any log that tells when requests came and how long they were."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from sim.choice import nearest
from sim.errors import TraceError
from sim.workload import traceextras
from sim.workload.clock import AnyTimes
from sim.workload.csvrows import CsvRows
from sim.workload.jsonlrows import JsonlRows
from sim.workload.naming import PLAIN, Column, plain_columns
from sim.workload.reading import Columns
from sim.workload.rows import Block, Rows
from sim.workload.table import Bools, RequestTable
from sim.workload.tracecontent import NamedContent
from sim.workload.tracefile import read_trace
from sim.workload.traceoptions import TraceOptions

_Word: TypeAlias = str | bool | int | float

COLUMNS = (
    "priority", "prompt_id", "prefix_group", "prefix_tokens", "block_hashes", "block_size", "segments",
    "session_id", "output_id", "turn", "pause_s",
)  # fmt: skip
"""What a plain file may tell besides times and lengths, and what any trace may (traceextras)."""

_USUAL = 5  # values told where none is wanted

_ROLES = (*PLAIN, *COLUMNS, *traceextras.COLUMNS)


@dataclass(frozen=True)
class PlainOptions(TraceOptions):
    """Options of the plain formats besides those of every trace."""

    columns: dict[str, str] = field(default_factory=dict)
    """What the file calls its columns, where they are not known by their usual names. E.g.
    `{arrival: ts, prompt_tokens: prompt_toks, tenant: customer}`."""
    where: dict[str, _Word | list[_Word]] = field(default_factory=dict)
    """Keep only rows that have this value, or one of these, in a column. E.g. `{status: [200, 201]}`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for role in self.columns:
            if role not in _ROLES:
                raise ValueError(f"columns: {role!r} is nothing that a trace tells{nearest(role, _ROLES)}")

    def rows(self) -> CsvRows | JsonlRows:
        """The file's rows."""
        raise NotImplementedError


def read_plain(options: PlainOptions, content: NamedContent) -> RequestTable:
    """The requests of a file whose columns are known by their names, or by what `columns` says.

    Raises TraceError naming file, line and column of a row that cannot be used, or a column that is missing.
    """
    rows = options.rows()
    header = rows.header()
    found = plain_columns(header, options.columns, rows.path) if header else {}
    time = found.get("arrival", Column("arrival_s"))
    names = {_plain_name(role): column.name for role, column in found.items()}
    if isinstance(rows, CsvRows) and (lost := [name for name in options.where if name not in header]):
        raise TraceError(f"{rows.path}: where: there is no column {lost[0]!r}{nearest(lost[0], header)}")
    table = read_trace(
        options,
        replace(rows, names={plain: name for plain, name in names.items() if plain != name}),
        Columns(),
        AnyTimes("arrival_s", time),
        _Asked(content, options.where) if options.where else content,
    )
    usual = ", ".join(f"{role} from {name}" for role, name in _usual(found, options).items())
    return replace(table, notes=(*table.notes, f"read {usual}")) if usual else table


def usual_columns(options: PlainOptions) -> dict[str, str]:
    """The columns of a file by role that are known by their usual names, not by the plain ones or `columns`."""
    rows = options.rows()
    return _usual(plain_columns(rows.header(), options.columns, rows.path), options)


def _usual(found: dict[str, Column], options: PlainOptions) -> dict[str, str]:
    named = {role: column.name for role, column in found.items() if role not in options.columns}
    return {role: name for role, name in named.items() if name != _plain_name(role)}


def _plain_name(role: str) -> str:
    return "arrival_s" if role == "arrival" else role


class _Asked(NamedContent):
    """The rows that have the wanted values."""

    def __init__(self, content: NamedContent, where: dict[str, Any]) -> None:
        super().__init__((*content.columns, *where), content.block_size, content.hashes)
        self.where = {name: value if isinstance(value, list) else [value] for name, value in where.items()}
        self.left_out = 0
        self.seen: dict[str, Counter[str]] = {name: Counter() for name in where}

    def wanted(self, rows: Rows, block: Block, count: int) -> Bools:
        keep = np.ones(count, dtype=bool)
        for name, values in self.where.items():
            words, cells = {_word(value) for value in values}, [_word(cell) for cell in rows.values(block[name])]
            keep &= np.array([cell in words for cell in cells], dtype=bool)
            self.seen[name].update(cells)
        self.left_out += int((~keep).sum())
        return keep

    def asked_in_vain(self) -> str:
        told = []
        for name, seen in self.seen.items():
            usual = [f"{value} ({count:,})" for value, count in seen.most_common(_USUAL)]
            told.append(f"{name} is {', '.join([*usual, *(['...'] if len(seen) > _USUAL else [])])}")
        return f"where leaves none of the {self.left_out:,} rows: {'; '.join(told)}"

    def notes(self) -> Iterator[str]:
        if self.left_out:
            yield f"{self.left_out:,} rows left out by {', '.join(self.where)} (where)"


def _word(value: Any) -> str:
    """A value as text, numbers without needless decimals, so that 200, "200" and 200.0 are one."""
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return text.lower() if text.lower() in ("true", "false") else text
    return str(int(number)) if np.isfinite(number) and number == int(number) else str(number)
