"""Optional columns of a trace: priority, and what each prompt holds."""

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sim.request import Segments
from sim.workload.content import Namer
from sim.workload.problems import Problem, blank
from sim.workload.rows import Block, Rows
from sim.workload.table import Bools, Floats, Ints
from sim.workload.waiting import Wait


@dataclass
class Content:
    """Reads the optional columns of one file; this one reads none, and every prompt is its own."""

    columns: Sequence[str] = ()
    session_column: ClassVar[str] = "session_id"
    pause_column: ClassVar[str] = "pause_s"
    pause_unit_s = 1.0

    def notes(self) -> Iterator[str]:
        """What is to be told with the result."""
        return iter(())

    def asked_in_vain(self) -> str:
        """Why no row was wanted, where none was; empty where there is nothing to say."""
        return ""

    def wanted(self, rows: Rows, block: Block, count: int) -> Bools:
        """True for the rows that the user asks for; the others are passed over silently."""
        return np.ones(count, dtype=bool)

    def problems(self, rows: Rows, block: Block, prompt: Floats) -> Iterator[Problem]:
        """What is wrong with these columns of a block."""
        yield from self._wait_problems(rows, block)

    def priority(self, rows: Rows, block: Block, count: int) -> Floats:
        """f8[count], 0 where a row gives none."""
        return np.zeros(count)

    def segments(self, rows: Rows, block: Block, chosen: Ints, prompt: Ints, first: int) -> list[Segments | None]:
        """What the chosen rows' prompts hold; `prompt` is their length, `first` numbers the first of them."""
        return [None] * len(chosen)

    def sessions(self, rows: Rows, block: Block, chosen: Ints) -> list[Hashable | None]:
        """Which session each chosen row belongs to: the column of that name, if it is read."""
        return self._names(rows, block, self.session_column, chosen)

    def output_names(self, rows: Rows, block: Block, chosen: Ints) -> list[Hashable | None]:
        """The name by which later prompts repeat a row's answer: the column output_id, if it is read."""
        return self._names(rows, block, "output_id", chosen)

    def waits(self, rows: Rows, block: Block, chosen: Ints) -> list[Wait | None]:
        """How each chosen row waits for the answers before it: the columns pause_s and turn, if they are read."""
        pauses, turns = (_column(rows, block, name) for name in (self.pause_column, "turn"))
        if pauses is None:
            return [None] * len(chosen)
        numbers = rows.numbers(block[self.pause_column]) * self.pause_unit_s
        places = [None] * len(pauses) if turns is None else turns
        return [
            None
            if pauses[row] is None
            else Wait(float(numbers[row]), None if places[row] is None else int(places[row]))
            for row in chosen.tolist()
        ]

    def _wait_problems(self, rows: Rows, block: Block) -> Iterator[Problem]:
        for name, least, what in ((self.pause_column, 0, "not a time of at least 0"), ("turn", 1, "not 1, 2, ...")):
            if (values := _column(rows, block, name)) is not None:
                numbers = rows.numbers(block[name])
                whole = (numbers == np.floor(numbers)) | (name == self.pause_column)
                yield Problem(name, ~blank(values) & ~(np.isfinite(numbers) & (numbers >= least) & whole), what)

    def _names(self, rows: Rows, block: Block, name: str, chosen: Ints) -> list[Hashable | None]:
        values = _column(rows, block, name)
        return [None] * len(chosen) if values is None else [values[row] for row in chosen.tolist()]


@dataclass
class NamedContent(Content):
    """Reads priority, prompt_id, prefix_group with prefix_tokens, and block_hashes; each may be left blank.

    prompt_id: equal ids, equal prompts. prefix_group: the first prefix_tokens tokens are the group's.
    block_hashes: one hash per `block_size` tokens (or per the row's own block_size); the last block may be
    cut short by the prompt's end, and tokens beyond the hashed blocks are the request's own. segments: the
    prompt as [name, tokens] pieces, equal names equal from their first token on; what they leave is its own.
    """

    columns: Sequence[str] = ("priority", "prompt_id", "prefix_group", "prefix_tokens", "session_id", "turn", "pause_s")
    block_size: int | None = None
    hashes: str = "block_hashes"
    """What the column of block hashes is called."""

    def __post_init__(self) -> None:
        self._namer = Namer()
        self._lengths: dict[Hashable, float] = {}  # of the prompts named so far

    def priority(self, rows: Rows, block: Block, count: int) -> Floats:
        values = _column(rows, block, "priority")
        if values is None:
            return np.zeros(count)
        return np.where(blank(values), 0.0, rows.numbers(block["priority"]))

    def problems(self, rows: Rows, block: Block, prompt: Floats) -> Iterator[Problem]:
        priorities = _column(rows, block, "priority")
        if priorities is not None:
            numbers = rows.numbers(block["priority"])
            bad = ~blank(priorities) & ~((np.abs(numbers) < 2**31) & (numbers == np.floor(numbers)))
            yield Problem("priority", bad, "not a whole number")
        prompt_ids, groups, hashes = (_column(rows, block, name) for name in ("prompt_id", "prefix_group", self.hashes))
        pieces = _column(rows, block, "segments")
        more = {name: _column(rows, block, name) for name in ("session_id", "output_id")}
        names = {"prompt_id": prompt_ids, "prefix_group": groups, **more}
        for name, values in names.items():
            if values is not None:
                odd = [v is not None and type(v) not in (int, str) for v in values]
                yield Problem(name, np.array(odd), "neither a whole number nor text")
        yield from self._wait_problems(rows, block)
        given = [~blank(values) for values in (prompt_ids, groups, hashes, pieces) if values is not None]
        if len(given) > 1:
            twice = np.sum(given, axis=0) > 1
            yield Problem("prompt_tokens", twice, f"named twice: give prompt_id, prefix_group or {self.hashes}")
        if prompt_ids is not None:
            yield from self._prompt_problems(prompt_ids, prompt)
        yield from _prefix_problems(rows, block, groups, prompt)
        if pieces is not None:
            unfit = [p is not None and not _are_pieces(p, tokens) for p, tokens in zip(pieces, prompt, strict=True)]
            what = "not a list of [name, tokens] pieces that fit into prompt_tokens"
            yield Problem("segments", np.array(unfit, dtype=bool), what)
        if hashes is not None:
            yield from self._hash_problems(rows, block, hashes, prompt)

    def _prompt_problems(self, prompt_ids: list[Any], prompt: Floats) -> Iterator[Problem]:
        differs = [
            type(name) in (int, str) and not math.isnan(tokens) and self._lengths.setdefault(name, tokens) != tokens
            for name, tokens in zip(prompt_ids, prompt.tolist(), strict=True)
        ]
        what = "not the length of an earlier row with the same prompt_id; equal ids mean equal prompts"
        yield Problem("prompt_tokens", np.array(differs), what)

    def _hash_problems(self, rows: Rows, block: Block, hashes: list[Any], prompt: Floats) -> Iterator[Problem]:
        lists = [h is None or (type(h) is list and set(map(type, h)) <= {int, str}) for h in hashes]
        yield Problem(self.hashes, ~np.array(lists), "not a list of whole numbers or texts")
        sizes = self._sizes(rows, block, len(hashes))
        given = ~blank(hashes)
        odd = given & ~((sizes >= 1) & (sizes == np.floor(sizes)))
        yield Problem("block_size", odd, "not a whole number of tokens; give block_size: to the trace")
        counts = np.array([len(h) if type(h) is list else 0 for h in hashes])
        with np.errstate(invalid="ignore"):
            many = given & ((counts - 1) * sizes >= prompt)
        yield Problem(self.hashes, many, "more blocks than prompt_tokens fill at this block_size")

    def _sizes(self, rows: Rows, block: Block, count: int) -> Floats:
        if self.block_size is not None:
            return np.full(count, float(self.block_size))
        return rows.numbers(block["block_size"])

    def segments(self, rows: Rows, block: Block, chosen: Ints, prompt: Ints, first: int) -> list[Segments | None]:
        out: list[Segments | None] = [None] * len(chosen)
        lengths = prompt.tolist()
        if (prompt_ids := _column(rows, block, "prompt_id")) is not None:
            for i, row in enumerate(chosen.tolist()):
                if (name := prompt_ids[row]) is not None:
                    out[i] = self._namer.prompt(name, lengths[i])
        if (groups := _column(rows, block, "prefix_group")) is not None:
            shared = rows.numbers(block["prefix_tokens"])
            for i, row in enumerate(chosen.tolist()):
                if groups[row] is not None:
                    out[i] = self._namer.prefix(groups[row], int(shared[row]), first + i, lengths[i])
        if (hashes := _column(rows, block, self.hashes)) is not None:
            sizes = self._sizes(rows, block, len(hashes))
            for i, row in enumerate(chosen.tolist()):
                if hashes[row] is not None:
                    out[i] = self._namer.blocks(hashes[row], int(sizes[row]), first + i, lengths[i])
        if (pieces := _column(rows, block, "segments")) is not None:
            for i, row in enumerate(chosen.tolist()):
                if pieces[row] is not None:
                    out[i] = self._namer.pieces(pieces[row], first + i, lengths[i])
        return out


def _are_pieces(value: Any, prompt_tokens: float) -> bool:
    """Whether a value is a list of [name, tokens] that a prompt of this length can begin with."""
    if type(value) is not list or not all(type(piece) is list and len(piece) == 2 for piece in value):
        return False
    fine = all(type(name) in (int, str) and type(tokens) is int and tokens >= 1 for name, tokens in value)
    return fine and sum(tokens for _, tokens in value) <= prompt_tokens


def _prefix_problems(rows: Rows, block: Block, groups: list[Any] | None, prompt: Floats) -> Iterator[Problem]:
    tokens = _column(rows, block, "prefix_tokens")
    if groups is None and tokens is None:
        return
    count = len(prompt)
    grouped = ~blank(groups or [None] * count)
    numbers = rows.numbers(block["prefix_tokens"]) if tokens is not None else np.full(count, np.nan)
    with np.errstate(invalid="ignore"):
        fits = (numbers >= 0) & (numbers <= prompt) & (numbers == np.floor(numbers))
    yield Problem("prefix_tokens", grouped & ~fits, "not a whole number from 0 to prompt_tokens")
    alone = ~grouped & ~blank(tokens or [None] * count)
    yield Problem("prefix_tokens", alone, "given without a prefix_group; name the group")


def _column(rows: Rows, block: Block, name: str) -> list[Any] | None:
    """An optional column as Python values, None when no row of the block has it."""
    values = rows.values(block[name]) if name in block else None
    return None if values is None or all(v is None for v in values) else values
