"""What an importer gathers: points by curve, where they are from, and what was left out."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from calibrate.importers.foreign import sha256
from calibrate.importers.shapes import Array
from sim.latency.points import COLUMNS, Key

MEASURED = "measured"
INCLUDED = "included"
"""Origins of a curve: read from the source; counted in another operation's times."""

NOTHING_S = 1e-9
"""Seconds that stand for a kernel whose time another operation's points already hold; the table takes no zero."""


@dataclass
class Points:
    """The points of one curve: times of each place (several if it was measured several times), in seconds."""

    origin: str
    source: str
    fused: bool = False
    """The times hold more than this operation alone, so that they compare with no roofline."""
    times: dict[tuple[float, ...], list[float]] = field(default_factory=dict)

    def medians(self) -> tuple[Array, Array]:
        """(places, one row each, ascending; the median time of each)."""
        places = sorted(self.times)
        return np.array(places), np.array([float(np.median(self.times[place])) for place in places])


@dataclass
class Collection:
    """Points and provenance, in the making."""

    tool: str
    curves: dict[Key, Points] = field(default_factory=dict)
    files: dict[Path, str] = field(default_factory=dict)
    """File -> SHA-256."""
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(file or kind of file, reason) -> rows."""
    notes: list[str] = field(default_factory=list)
    included: dict[str, str] = field(default_factory=dict)
    """Element-wise op -> what its time is part of."""
    gpu: str | None = None
    """What the source calls the GPU."""
    engine: str = ""
    """Whose kernels were measured, where the source says so."""

    def add(
        self,
        key: Key,
        places: Array,
        times_s: Array,
        source: str,
        *,
        origin: str = MEASURED,
        fused: bool = False,
        file: Path | None = None,
    ) -> None:
        """Put times at places of a curve; empty and zero times are left out and counted.

        A second call for one curve adds to it; the median of equal places counts in the end.
        """
        label = file.name if file else source
        empty, zero = np.isnan(times_s), times_s == 0
        self.skip(label, f"no time in {source!r}", int(empty.sum()))
        self.skip(label, f"a time of 0 in {source!r}, rounded away by the tool", int(zero.sum()))
        good = ~(empty | zero)
        if not good.any():
            return
        points = self.curves.setdefault(key, Points(origin, source, fused))
        for place, time_s in zip(places[good].tolist(), times_s[good].tolist(), strict=True):
            points.times.setdefault(tuple(place), []).append(time_s)

    def opened(self, file: Path) -> None:
        """Remember a file that was read."""
        self.files[file] = sha256(file)

    def skip(self, label: str, reason: str, rows: int) -> None:
        """Remember `rows` rows that were left out."""
        if rows:
            self.skipped[label, reason] += rows

    def note(self, text: str) -> None:
        """Remember, once, what a reader of the numbers must know."""
        if text not in self.notes:
            self.notes.append(text)

    def ordered(self) -> Iterator[tuple[Key, Points]]:
        """The curves in the order of the table: by op, then by key."""
        rank = {op: i for i, op in enumerate(COLUMNS)}

        def place(key: Key) -> tuple[int, list[tuple[int, int, str]]]:
            return rank[key[0]], [(0, int(c), "") if c.isdigit() else (1, 0, c) for c in key[1:]]

        for key in sorted(self.curves, key=place):
            yield key, self.curves[key]
