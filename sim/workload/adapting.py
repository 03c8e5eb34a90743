"""Which LoRA adapter each request wants."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from sim.errors import ScenarioError
from sim.request import NO_ADAPTER, Request
from sim.workload.table import Ints, RequestTable


@dataclass(frozen=True, eq=False)
class Chosen:
    """Names of adapters, and i8[n]: the index of the one that each request wants, NO_ADAPTER for none."""

    names: tuple[str, ...]
    adapter: Ints


class Adapters(Protocol):
    """How a synthetic workload's requests choose adapters (the folder `adapters`)."""

    def draw(self, rng: np.random.Generator, requests: int) -> Chosen:
        """The adapter of each request."""
        ...


def without_some(rng: np.random.Generator, adapter: Ints, base_share: float) -> Ints:
    """The same, where that share of the requests want none."""
    return np.where(rng.random(len(adapter)) < base_share, NO_ADAPTER, adapter)


def with_adapters(table: RequestTable, adapters: Adapters, rng: np.random.Generator) -> RequestTable:
    """The table with an adapter for each request; all requests of a session have the same.

    Raises ScenarioError for a trace that brings its own.
    """
    if table.adapter is not None:
        raise ScenarioError(
            f"workload: {table.source} brings its own adapters, so adapters cannot be given; remove one"
        )
    chosen = adapters.draw(rng, len(table))
    adapter = chosen.adapter
    if table.sessions is not None:
        _, first, member = np.unique(table.sessions, return_index=True, return_inverse=True)
        adapter = np.where(table.sessions < 0, adapter, adapter[first][member])
    return replace(table, adapter=adapter, adapters=chosen.names)


def adapted(requests: Iterator[Request], table: RequestTable) -> Iterator[Request]:
    """The requests of the table with their adapters.

    The same text under another adapter has other keys and values, so what a prompt holds is named after its adapter
    (vLLM makes the adapter's name part of every block's hash). All names hang on the first, as prefixes do.
    """
    assert table.adapter is not None
    for request in requests:
        request.adapter = int(table.adapter[request.id])
        if request.segments and request.adapter != NO_ADAPTER:
            (name, tokens), *rest = request.segments
            request.segments = ((("under", request.adapter, name), tokens), *rest)
        yield request
