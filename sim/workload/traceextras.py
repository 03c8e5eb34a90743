"""Optional columns of any trace: whose a request is, which LoRA adapter it wants, what a scheduler expects of it, and
when its client gives up."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sim.workload.problems import Problem
from sim.workload.rows import TOKENS_WANTED, Block, Rows, not_tokens
from sim.workload.table import MAX_TOKENS, ONE_TENANT, Bools, Floats, Ints, numbered, numbered_or_none

COLUMNS = ("tenant", "adapter", "predicted_tokens", "cancel_after_s", "cancel_after_tokens")
"""Text or a whole number, twice; tokens; seconds after the arrival; tokens of the answer. Each may be left blank."""

_NAMES = ("tenant", "adapter")


def problems(rows: Rows, block: Block) -> Iterator[Problem]:
    """What is wrong with these columns of a block."""
    for name in COLUMNS:
        values = _values(rows, block, name)
        if values is None:
            continue
        given = np.array([value is not None for value in values])
        if name in _NAMES:
            odd = [value is not None and type(value) not in (int, str) for value in values]
            yield Problem(name, np.array(odd), "neither text nor a whole number")
        elif name == "cancel_after_s":
            yield Problem(name, given & ~_positive(rows.numbers(block[name])), "not a time above 0, in seconds")
        else:
            yield Problem(name, given & not_tokens(rows.numbers(block[name])), TOKENS_WANTED)


def read(rows: Rows, block: Block, chosen: Ints) -> dict[str, list[Any]]:
    """The chosen rows' values by column, None for blank ones."""
    found: dict[str, list[Any]] = {}
    for name in COLUMNS:
        values = _values(rows, block, name)
        if values is None:
            found[name] = [None] * len(chosen)
        elif name in _NAMES:
            found[name] = [values[row] for row in chosen.tolist()]
        else:
            numbers = rows.numbers(block[name]).tolist()
            found[name] = [None if values[row] is None else numbers[row] for row in chosen.tolist()]
    return found


def columns(parts: Sequence[dict[str, list[Any]]], offset: int, output_tokens: Ints) -> dict[str, Any]:
    """What a RequestTable has of them, for rows from `offset` on; columns that are all blank are left out.

    Blank cells: the tenant "default", no adapter, a prediction that is right, a client that never gives up.
    """
    table: dict[str, Any] = {}
    for name in COLUMNS:
        values = [value for part in parts for value in part[name]][offset:]
        if all(value is None for value in values):
            continue
        if name == "tenant":
            names = [ONE_TENANT if value is None else str(value) for value in values]
            table["tenants"], table["tenant"] = numbered(names)
        elif name == "adapter":
            wanted = [None if value is None else str(value) for value in values]
            table["adapters"], table["adapter"] = numbered_or_none(wanted)
        elif name == "cancel_after_s":
            table[name] = np.array([np.inf if value is None else value for value in values], dtype=np.float64)
        else:
            other = output_tokens if name == "predicted_tokens" else np.full(len(values), MAX_TOKENS)
            pairs = zip(values, other.tolist(), strict=True)
            table[name] = np.array([right if value is None else value for value, right in pairs], dtype=np.int64)
    return table


def _values(rows: Rows, block: Block, name: str) -> list[Any] | None:
    values = rows.values(block[name]) if name in block else None
    return None if values is None or all(value is None for value in values) else values


def _positive(numbers: Floats) -> Bools:
    return np.asarray(np.isfinite(numbers) & (numbers > 0))
