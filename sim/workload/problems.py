"""Rows that cannot be used: what is wrong with them, counted by kind, told all at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sim.errors import OptionError
from sim.workload.rows import Place, Rows, cell
from sim.workload.table import Bools, Ints


class Problem(NamedTuple):
    """What is wrong with some rows of a block: the column, bool[rows], and the words for it.

    `several` are words for many of them ("with 0"), before the column's name; `mend` is the option of the trace that
    deals with them, and its value.
    """

    column: str
    rows: Bools
    what: str
    several: str = ""
    mend: tuple[str, str] = ("on_bad_row", "skip")


@dataclass
class _Kind:
    """Rows with the same problem."""

    problem: Problem
    count: int
    first: int


class _Told(NamedTuple):
    """A kind in words: its first row, what to say of one row, of several, and the option that deals with them."""

    place: Place
    alone: str
    several: str
    mend: tuple[str, str]


@dataclass
class BadRows:
    """The rows of one file that cannot be used, by kind."""

    rows: Rows
    kinds: dict[tuple[str, str], _Kind] = field(default_factory=dict)
    misshapen: list[Place] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(kind.count for kind in self.kinds.values()) + len(self.misshapen)

    def add(self, problems: Iterable[Problem], bad: Bools, places: Ints) -> None:
        """Take the bad rows of a block; of several problems of a row the first counts. `places` numbers the rows."""
        left = bad.copy()
        for problem in problems:
            here = left & problem.rows[: len(left)]
            if not here.any():
                continue
            left &= ~here
            kind = self.kinds.setdefault((problem.column, problem.several or problem.what), _Kind(problem, 0, 1 << 62))
            kind.count += int(here.sum())
            kind.first = min(kind.first, int(places[: len(left)][here].min()))

    def add_misshapen(self, places: Sequence[Place]) -> None:
        """Take lines that are no rows."""
        self.misshapen.extend(places)

    def error(self) -> OptionError:
        """All that is wrong, and what makes the file readable as it is."""
        told = self._kinds_told()
        mend = dict(sorted(kind.mend for kind in told))
        why = {option: _listed([kind for kind in told if kind.mend[0] == option]) for option in mend}
        return OptionError(self.told(), mend, "mend the row" if len(self) == 1 else "mend them", why)

    def told(self) -> str:
        """Where and what, with the count of each kind and its first line."""
        told = self._kinds_told()
        if len(self) == 1:
            return f"{self.rows.path}, {told[0].place.where}: {told[0].alone}"
        return f"{self.rows.path}: {len(self):,} rows cannot be used: {_listed(told)}"

    def note(self) -> str:
        """The same, of rows that were left out."""
        if len(self) == 1:
            return f"1 unusable row of the trace skipped; the first: {self.told()}"
        return f"{len(self):,} unusable rows of the trace skipped: {_listed(self._kinds_told())}"

    def _kinds_told(self) -> list[_Told]:
        """Every kind, by its first line."""
        kinds = list(self.kinds.values())
        places = self.rows.places([kind.first for kind in kinds]) if kinds else []
        told = [self._kind_told(kind, place) for kind, place in zip(kinds, places, strict=True)]
        if self.misshapen:
            first = self.misshapen[0]
            several = f"{len(self.misshapen):,} misshapen (first: {first.where}, {first.text})"
            told.append(_Told(first, first.text, several, ("on_bad_row", "skip")))
        return sorted(told, key=lambda kind: kind.place.line)

    def _kind_told(self, kind: _Kind, place: Place) -> _Told:
        problem, name = kind.problem, self.rows.called(kind.problem.column)
        alone = f"{cell(place, name)}, {problem.what}"
        if place.values is None:
            several = f"{kind.count:,} that are not JSON objects (first: {place.where})"
        elif problem.several:
            several = f"{kind.count:,} {problem.several} {name} (first: {place.where})"
        else:
            value = repr((place.values or {}).get(name))
            several = f"{kind.count:,} whose {name} is {problem.what} (first: {place.where}, {value[:60]})"
        return _Told(place, alone, several, problem.mend)


def _listed(kinds: list[_Told]) -> str:
    return ", ".join(kind.several for kind in kinds)


def blank(values: Sequence[object]) -> Bools:
    """True where a column says nothing."""
    return np.array([value is None for value in values], dtype=bool)
