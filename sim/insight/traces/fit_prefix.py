"""Whether what a trace's prompts share can be said as `prefix:` of a synthetic workload."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sim.request import Segments
from sim.workload.reuse import measure_reuse
from sim.workload.table import Ints, RequestTable

_SOME = 0.005
_MOST = 0.8
"""A prefix that explains this share of the reused tokens is taken for the trace's."""
_DEEPEST = 64
_SKEWS = np.arange(0, 3.01, 0.01)


@dataclass(frozen=True, eq=False)
class PrefixFit:
    """The `prefix` of a workload (None: nothing is shared, or it cannot be said), the lengths that prompts have without
    it, i8[m], the rows these belong to (None: all), and a remark for the user."""

    prefix: dict[str, dict[str, Any]] | None
    own_tokens: Ints
    rows: Ints | None = None
    remark: str = ""


@dataclass
class _Level:
    """Prompts that have a piece ending at one depth: how many, and how often each beginning occurs."""

    counts: Counter[int] = field(default_factory=Counter)


def fit_prefix(table: RequestTable) -> PrefixFit:
    """A shared prefix or repeated prompts, if one of them explains most of the trace's reuse."""
    whole = PrefixFit(None, table.prompt_tokens)
    reuse = measure_reuse(table)
    if reuse is None or table.segments is None or reuse.token_hit_rate < _SOME:
        return whole
    reused = int(reuse.hit_tokens.sum())
    asked = Counter(pieces for pieces in table.segments if pieces is not None)
    first_rows = _first_rows(table.segments)
    repeated = sum((uses - 1) * sum(tokens for _, tokens in pieces) for pieces, uses in asked.items())
    if repeated > _MOST * reused and len(first_rows) <= len(table) / 2:
        prefix = {"repeated_prompts": {"prompts": len(first_rows), **_skew(list(asked.values()))}}
        return PrefixFit(prefix, table.prompt_tokens[first_rows], first_rows)
    depth, level = max(_levels(table.segments).items(), key=lambda item: _explained(*item))
    explained = _explained(depth, level) / reused
    holders = sum(level.counts.values())
    if explained > _MOST and holders >= 0.95 * len(table):
        prefix = {
            "shared_prefix": {"groups": len(level.counts), "shared_tokens": depth, **_skew(list(level.counts.values()))}
        }
        return PrefixFit(prefix, np.maximum(table.prompt_tokens - depth, 1))
    remark = (
        f"prefix: prompts reuse {reuse.token_hit_rate:.1%} of their tokens, of which one shared beginning explains "
        f"{explained:.0%}; the rest (conversations that grow, or many beginnings) has no synthetic form here"
    )
    return PrefixFit(None, table.prompt_tokens, None, remark)


def _first_rows(segments: list[Segments | None]) -> Ints:
    """The first row of each different prompt."""
    seen: dict[Hashable, int] = {}
    for row, pieces in enumerate(segments):
        seen.setdefault(row if pieces is None else pieces, row)
    return np.array(list(seen.values()), dtype=np.int64)


def _levels(segments: list[Segments | None]) -> dict[int, _Level]:
    """The beginnings of prompts by where they end, in tokens; the first 64 pieces of each."""
    nodes: dict[tuple[int, tuple[Hashable, int]], int] = {}
    levels: dict[int, _Level] = {}
    for pieces in segments:
        parent, depth = -1, 0
        for piece in (pieces or ())[:_DEEPEST]:
            parent = nodes.setdefault((parent, piece), len(nodes))
            depth += piece[1]
            levels.setdefault(depth, _Level()).counts[parent] += 1
    return levels


def _explained(depth: int, level: _Level) -> int:
    """Tokens reused if every beginning that ends here was computed once."""
    return depth * (sum(level.counts.values()) - len(level.counts))


def _skew(uses: list[int]) -> dict[str, float]:
    """The Zipf exponent of kinds used so often, by maximum likelihood; nothing where all are alike."""
    counts = np.sort(np.array(uses, dtype=np.float64))[::-1]
    if len(counts) < 2:
        return {}
    ranks = np.log(np.arange(1, len(counts) + 1))
    likelihood = [-s * (counts * ranks).sum() - counts.sum() * np.log(np.exp(-s * ranks).sum()) for s in _SKEWS]
    skew = float(round(_SKEWS[int(np.argmax(likelihood))], 2))
    even = np.sqrt(counts.mean())  # sorted even draws look skewed by their noise
    return {} if counts.std() < 2.5 * even else {"skew": skew}
