"""Beam search, as vLLM does it: a loop above the engine.

A search for an answer of n tokens makes n rounds. The first sends the prompt; each later one sends `beam_width`
requests side by side, one for each beam: the prompt and the beam's tokens so far. Every request asks for one token (and
logprobs, which cost nothing here), and a round begins when all answers of the one before are there. Beams are
requests like all others: what they have in common, the prefix cache finds in whole blocks, so that beams that part in
the middle of a block each compute that block's tokens again, which copy-on-write would copy. The search ends after n
rounds, as in vLLM, where beams that end are replaced by others until max_tokens.

Which beam each goes on from is drawn: every beam of the round before is as likely as the others (assumed; where
likelihoods differ much, fewer beams have children and more is shared). Not modelled: engines that fork sequences
themselves (TensorRT-LLM's beams), the time to choose among candidates, and max_model_len, at which a search ends early.

Source: vLLM 0.32, vllm/entrypoints/generate/beam_search/online.py.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from sim.errors import TraceError
from sim.request import Segments
from sim.workload.table import ClosedLoop, Ints, RequestTable

MAX_ROWS = 10_000_000
"""Requests that all searches of a workload may come to."""

_NOT_WITH = ("turns", "output_names", "prompts", "predicted_tokens", "cancel_after_s", "cancel_after_tokens")


def with_beams(table: RequestTable, beam_width: int, rng: np.random.Generator) -> RequestTable:
    """The table with every request replaced by a search of as many rounds as it has output tokens.

    Each search is a session, each of its rounds a turn. Raises TraceError for a table whose requests wait for each
    other's answers, repeat them, are several to a prompt, come with predicted lengths, or may be given up.
    """
    for name in _NOT_WITH:
        if getattr(table, name) is not None:
            raise TraceError(f"beam search is not modelled for requests with {name} ({table.source}); leave that out")
    sizes = 1 + beam_width * (table.output_tokens - 1)
    if int(sizes.sum()) > MAX_ROWS:
        raise TraceError(
            f"beam search makes {int(sizes.sum()):,} requests of one token of this workload, and the most is "
            f"{MAX_ROWS:,}; take fewer requests, shorter answers or fewer beams"
        )
    rows = np.repeat(np.arange(len(table)), sizes)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    turns = np.where(place == 0, 1, 2 + (place - 1) // beam_width)
    columns: dict[str, Any] = {
        "prompt_tokens": table.prompt_tokens[rows] + turns - 1,
        "output_tokens": np.ones(len(rows), np.int64),
        "segments": list(_segments(table, beam_width, rng)),
        "sessions": rows,
        "turns": turns,
        "pause_s": np.zeros(len(rows)),
    }
    if (loop := table.closed_loop) is not None:
        columns["closed_loop"] = ClosedLoop(loop.users, loop.think_s[rows])
    note = (
        f"beam search: every request is one token of one of {beam_width} beams, so latencies and rates are of these; "
        "`sessions` tells how long whole searches take"
    )
    return replace(table.take(rows, **columns), notes=(*table.notes, note))


def _segments(table: RequestTable, beam_width: int, rng: np.random.Generator) -> Iterator[Segments]:
    """What each request's prompt holds, search after search."""
    known = table.segments or [None] * len(table)
    lengths = zip(known, table.prompt_tokens.tolist(), table.output_tokens.tolist(), strict=True)
    for row, (pieces, prompt, answer) in enumerate(lengths):
        prompt_pieces: Segments = pieces or ((("prompt of", row), prompt),)
        yield prompt_pieces
        if answer > 1:
            for level in beam_paths(rng.integers(beam_width, size=(answer - 2, beam_width)), beam_width):
                for path in level:
                    yield (*prompt_pieces, *((("beam", row, *name), tokens) for name, tokens in path))


Path = tuple[tuple[tuple[int, int], int], ...]
"""A beam's tokens: the first so many of each named line, one after another."""


def beam_paths(parents: Ints, beam_width: int) -> Iterator[list[Path]]:
    """The paths of all beams, round after round, given the beam that each goes on from in all rounds but the first.

    parents i8[rounds - 1, beam_width]. A line is named by the (round, beam) that it begins with. Of a beam's children
    the one whose descendants live longest goes on with its line and the others begin new ones, so that paths are short.
    """
    choices: list[list[int]] = parents.tolist()
    heirs: list[list[int]] = []
    lives = [len(choices)] * beam_width  # the last round in which each beam has descendants
    for number in range(len(choices) - 1, -1, -1):
        before, heir = [number] * beam_width, [-1] * beam_width
        for child, parent in enumerate(choices[number]):
            if lives[child] > before[parent]:
                before[parent], heir[parent] = lives[child], child
        heirs.append(heir)
        lives = before
    paths: list[Path] = [(((0, beam), 1),) for beam in range(beam_width)]
    yield paths
    for number, (choice, heir) in enumerate(zip(choices, reversed(heirs), strict=True), 1):
        following: list[Path] = []
        for child, parent in enumerate(choice):
            path = paths[parent]
            if heir[parent] == child:
                *rest, (name, tokens) = path
                following.append((*rest, (name, tokens + 1)))
            else:
                following.append((*path, ((number, child), 1)))
        paths = following
        yield paths
