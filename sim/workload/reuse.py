"""How much of the prompts an infinite prefix cache would have held."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np

from sim.workload.table import Ints, RequestTable


@dataclass(frozen=True, eq=False)
class Reuse:
    """hit_tokens i8[n]: how much of each prompt, from its beginning, some prompt (or answer) before it held.

    blocks and unique_blocks count the pieces that prompts are named in, and those that differ.
    """

    hit_tokens: Ints
    prompt_tokens: Ints
    blocks: int
    unique_blocks: int

    @property
    def token_hit_rate(self) -> float:
        """Share of all prompt tokens."""
        return float(self.hit_tokens.sum() / self.prompt_tokens.sum())

    @property
    def request_hit_rate(self) -> float:
        """Share of requests whose prompt begins with something known."""
        return float((self.hit_tokens > 0).mean())


class _Tree:
    """All prompts so far: (parent, name) -> the longest piece of that name seen there; each piece a node."""

    def __init__(self) -> None:
        self.longest: dict[tuple[int, Hashable], int] = {}
        self.nodes: dict[tuple[int, Hashable, int], int] = {}

    def add(self, pieces: Iterable[tuple[Hashable, int]]) -> int:
        """Put a prompt in; how many of its first tokens were there before."""
        parent, hit, known = -1, 0, True
        longest, nodes = self.longest, self.nodes
        for name, length in pieces:
            seen = longest.get((parent, name), 0)
            if known:
                hit += min(seen, length)
                known = length <= seen
            if length > seen:
                longest[parent, name] = length
            parent = nodes.setdefault((parent, name, length), len(nodes))
        return hit


def measure_reuse(table: RequestTable) -> Reuse | None:
    """What each prompt could reuse if nothing were ever evicted, requests in order; None if no content is known.

    Whole pieces as the trace names them, so that partial last blocks count; an engine reuses full blocks only,
    and computes the last token of a prompt itself. Earlier answers count where a trace names them.
    """
    if table.segments is None:
        return None
    tree, hits = _Tree(), np.zeros(len(table), dtype=np.int64)
    blocks = 0
    for row, pieces in enumerate(table.segments):
        if pieces is None:
            continue
        hits[row] = tree.add(pieces)
        blocks += len(pieces)
        if table.output_names is not None and table.output_names[row] is not None:
            tree.add((*pieces, _answer(table, row)))
    return Reuse(hits, table.prompt_tokens, blocks, len(tree.nodes))


def _answer(table: RequestTable, row: int) -> tuple[Hashable, int]:
    assert table.output_names is not None
    return table.output_names[row], int(table.output_tokens[row])
