"""What every format without arrival times shares: slicing, checking and counting, session by session."""

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sim.errors import OptionError, TraceError
from sim.request import Segments
from sim.workload.fileoptions import FileOptions, Fitting
from sim.workload.sessions import Sessions
from sim.workload.table import MAX_TOKENS, Bools, Ints


class Turn(NamedTuple):
    """One request of a session, `after_s` seconds after the session's start, or after the answers to turn - 1.

    Turns count from 1; 0: it is sent at its time, whatever has been answered.
    """

    prompt_tokens: int
    output_tokens: int
    segments: Segments | None = None
    output_name: Hashable | None = None
    after_s: float = 0.0
    turn: int = 0


class SessionBuilder:
    """Collects the sessions of a file as its options want them."""

    def __init__(self, options: FileOptions, notes: Sequence[str] = ()) -> None:
        self.options, self.told = options, tuple(notes)
        self.turns: list[Turn] = []
        self.session: list[int] = []
        self.seen = self.skipped = 0
        self.first_skipped = ""
        self.last = np.inf if options.limit is None else options.offset + options.limit

    @property
    def full(self) -> bool:
        """Whether the file need not be read further."""
        return self.seen >= self.last

    def add(self, turns: Sequence[Turn], where: str | Callable[[], str]) -> None:
        """Take a session; `where` says where in the file it stands, for an error. One without turns is passed over."""
        if not turns:
            return
        for turn in turns:
            if problem := self._problem(turn):
                place = where if isinstance(where, str) else where()
                return self.bad(f"{place}: {problem}", empty=turn.output_tokens == 0 and turn.prompt_tokens > 0)
        if self.seen >= self.options.offset:
            self.turns.extend(turns)
            self.session.extend([self.seen] * len(turns))
        self.seen += 1

    def _problem(self, turn: Turn) -> str:
        if not 1 <= turn.prompt_tokens <= MAX_TOKENS:
            return f"a prompt of {turn.prompt_tokens:,} tokens, not 1 to {MAX_TOKENS:,}"
        if turn.output_tokens == 0 and self.options.empty_outputs == "bad":
            return "an output of 0 tokens"
        if not 0 <= turn.output_tokens <= MAX_TOKENS:
            return f"an output of {turn.output_tokens:,} tokens, not 1 to {MAX_TOKENS:,}"
        return ""

    def bad(self, told: str, empty: bool = False) -> None:
        """Stop at a session that cannot be used, or skip and count it, as the options say."""
        if self.options.on_bad_row == "error":
            mend = {"empty_outputs": "drop"} if empty else {"on_bad_row": "skip"}
            raise OptionError(told, mend, "mend it", dict.fromkeys(mend, f"such as {told}"))
        self.skipped += 1
        self.first_skipped = self.first_skipped or told

    def sessions(self) -> Sessions:
        """All that was taken. Raises TraceError when nothing is left."""
        prompt, output = _ints([t.prompt_tokens for t in self.turns]), _ints([t.output_tokens for t in self.turns])
        fitting = Fitting(self.options)
        fitting.count(prompt, output)
        kept = np.flatnonzero(~fitting.dropped(prompt, output))
        if len(kept) == 0:
            raise TraceError(self._nothing_left(fitting))
        turns = [self.turns[row] for row in kept.tolist()]
        prompt, segments = fitting.cut(prompt[kept], [turn.segments for turn in turns])
        names = [turn.output_name for turn in turns]
        _, session = np.unique(_ints(self.session)[kept], return_inverse=True)
        skipped = [f"{self.skipped} unusable entries of the trace skipped; the first: {self.first_skipped}"]
        after_s, turn = np.array([turn.after_s for turn in turns], dtype=np.float64), _ints([t.turn for t in turns])
        first = np.diff(session, prepend=-1) != 0
        return Sessions(
            session=session.astype(np.int64),
            after_s=np.where(first & (turn > 0), 0.0, after_s),  # what it waited for may have been left out
            turns=_renumbered(turn, first) if turn.any() else None,
            prompt_tokens=prompt,
            output_tokens=np.maximum(output[kept], 1),
            segments=segments if any(s is not None for s in segments) else None,
            output_names=names if any(name is not None for name in names) else None,
            skipped_rows=self.skipped,
            notes=(*self.told, *(skipped if self.skipped else ()), *fitting.notes()),
            source=Path(self.options.path).name,
        )

    def _nothing_left(self, fitting: Fitting) -> str:
        reasons = [*fitting.notes(), *([f"{self.skipped} skipped"] if self.skipped else ())]
        why = f" ({'; '.join(reasons)}{'; the first: ' + self.first_skipped if self.skipped else ''})"
        return f"{self.options.path}: no usable request is left of {self.seen:,}{why if reasons else ''}"


def _ints(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def _renumbered(turn: Ints, first: Bools) -> Ints:
    """Turns counted again from 1 in every session, without gaps where some were left out."""
    steps = np.cumsum(first | (np.diff(turn, prepend=0) != 0))
    renumbered: Ints = steps - steps[np.flatnonzero(first)][np.cumsum(first) - 1] + 1
    return renumbered
