"""Several workloads at once: each one's requests are a tenant's."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np

from sim.errors import ScenarioError
from sim.request import Segments
from sim.workload.table import MAX_TOKENS, ONE_TENANT, Ints, RequestTable


def mixed(tables: Mapping[str, RequestTable]) -> RequestTable:
    """One table of all requests by arrival; those of equal arrival in the order of the tables.

    The requests of a table are the tenant's of its name, or, if it has several tenants, of "name/tenant". Content is
    shared within a table alone; a LoRA adapter of one name is one adapter in all. Raises ScenarioError for a closed
    loop, whose users nobody else could come between.
    """
    for name, table in tables.items():
        if table.closed_loop is not None:
            raise ScenarioError(f"workload.mix.{name}: a closed loop cannot be mixed with others; give it an open one")
    parts = list(tables.values())
    arrival_s = np.concatenate([table.arrival_s for table in parts])
    order = np.argsort(arrival_s, kind="stable")
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(table, name) for table in parts])[order]
        for name in ("arrival_s", "prompt_tokens", "output_tokens", "priority")
    }
    waits = any(table.turns is not None for table in parts)
    fills: dict[str, Callable[[RequestTable], Any]] = {
        "predicted_tokens": lambda table: table.output_tokens,
        "cancel_after_s": lambda table: np.full(len(table), np.inf),
        "cancel_after_tokens": lambda table: np.full(len(table), MAX_TOKENS, np.int64),
        "turns": lambda table: np.ones(len(table), np.int64),
        "pause_s": lambda table: np.zeros(len(table)),
    }
    for name, fill in fills.items():
        if any(getattr(table, name) is not None for table in parts):
            whole = [fill(table) if getattr(table, name) is None else getattr(table, name) for table in parts]
            columns[name] = np.concatenate(whole)[order]
    columns["prompts"] = _numbers(parts, "prompts", order, None)
    columns["sessions"] = _numbers(parts, "sessions", order, -1)
    if waits and columns["sessions"] is None:
        columns["sessions"] = np.full(len(order), -1)
    columns |= _tenants(tables, order) | _adapters(parts, order) | _content(tables, order)
    return RequestTable(
        **columns,
        skipped_rows=sum(table.skipped_rows for table in parts),
        notes=tuple(f"{name}: {note}" for name, table in tables.items() for note in table.notes),
        source="; ".join(f"{name}: {table.source}" for name, table in tables.items()),
    )


def _numbers(parts: list[RequestTable], name: str, order: Ints, none: int | None) -> Ints | None:
    """Numbers that mean something within a table, made different between tables; `none` stays what it is.

    Without a number for none, each row of a table that has no numbers gets its own.
    """
    if all(getattr(table, name) is None for table in parts):
        return None
    numbers, first = [], 0
    for table in parts:
        own = getattr(table, name)
        if own is None:
            own = np.arange(len(table)) if none is None else np.full(len(table), none)
        numbers.append(own + first if none is None else np.where(own == none, none, own + first))
        first += int(own.max(initial=-1)) + 1
    together: Ints = np.concatenate(numbers)[order]
    return together


def _tenants(tables: Mapping[str, RequestTable], order: Ints) -> dict[str, Any]:
    names: list[str] = []
    codes = []
    for name, table in tables.items():
        own = np.zeros(len(table), np.int64) if table.tenant is None else table.tenant
        codes.append(own + len(names))
        alone = table.tenants == (ONE_TENANT,)
        names += [name] if alone else [f"{name}/{tenant}" for tenant in table.tenants]
    return {"tenant": np.concatenate(codes)[order], "tenants": tuple(names)}


def _adapters(parts: list[RequestTable], order: Ints) -> dict[str, Any]:
    if all(table.adapter is None for table in parts):
        return {}
    places: dict[str, int] = {}
    codes = []
    for table in parts:
        if table.adapter is None:
            codes.append(np.full(len(table), -1))
            continue
        own = np.array([places.setdefault(name, len(places)) for name in table.adapters] or [0], np.int64)
        codes.append(np.where(table.adapter < 0, -1, own[table.adapter]))
    return {"adapter": np.concatenate(codes)[order], "adapters": tuple(places)}


def _content(tables: Mapping[str, RequestTable], order: Ints) -> dict[str, Any]:
    """Segments and names of answers, under the name of their table; equal ones stay one object."""
    columns: dict[str, Any] = {}
    if any(table.segments is not None for table in tables.values()):
        every: list[Segments | None] = []
        for name, table in tables.items():
            every += [None] * len(table) if table.segments is None else _renamed(name, table.segments)
        columns["segments"] = [every[row] for row in order.tolist()]
    if any(table.output_names is not None for table in tables.values()):
        names: list[Hashable | None] = []
        for name, table in tables.items():
            own = [None] * len(table) if table.output_names is None else table.output_names
            names += [None if one is None else (name, one) for one in own]
        columns["output_names"] = [names[row] for row in order.tolist()]
    return columns


def _renamed(name: str, segments: list[Segments | None]) -> list[Segments | None]:
    pieces: dict[tuple[Hashable, int], tuple[Hashable, int]] = {}
    prompts: dict[int, Segments] = {}
    found: list[Segments | None] = []
    for one in segments:
        if one is None:
            found.append(None)
            continue
        if id(one) not in prompts:  # all of them are alive, so that an id is one prompt's
            prompts[id(one)] = tuple(pieces.setdefault(piece, ((name, piece[0]), piece[1])) for piece in one)
        found.append(prompts[id(one)])
    return found
