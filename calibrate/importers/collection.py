"""What an importer gathers: points by curve, where they are from, and what was left out."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from calibrate.importers.foreign import sha256
from calibrate.importers.shapes import Array, curve_of
from sim.latency.points import COLUMNS, Key
from sim.models.operations import Operation, gemm, grouped_gemm


@dataclass
class Points:
    """The points of one curve: times of each place (several if it was measured several times), in seconds."""

    source: str
    times: dict[tuple[float, ...], list[float]] = field(default_factory=dict)

    def medians(self) -> tuple[Array, Array]:
        """(places, one row each, ascending; the median time of each)."""
        places = sorted(self.times)
        return np.array(places), np.array([median(self.times[place]) for place in places])


@dataclass
class Collection:
    """Points and provenance, in the making."""

    tool: str
    curves: dict[Key, Points] = field(default_factory=dict)
    files: dict[Path, str] = field(default_factory=dict)
    """File -> SHA-256."""
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(file, reason) -> rows."""
    notes: list[str] = field(default_factory=list)
    included: dict[str, str] = field(default_factory=dict)
    """Element-wise op -> what its time is part of."""
    gpu: str | None = None
    """What the source calls the GPU."""
    engine: str = ""
    """Whose kernels were measured, where the source says so."""

    def add(self, key: Key, places: Array, times_s: Array, source: str, file: Path) -> None:
        """Put times at places of a curve; empty and zero times are left out and counted.

        A second call for one curve adds to it; the median of equal places counts in the end.
        """
        empty, zero = np.isnan(times_s), times_s == 0
        self.skip(file.name, f"no time in {source!r}", int(empty.sum()))
        self.skip(file.name, f"a time of 0 in {source!r}, rounded away by the tool", int(zero.sum()))
        good = ~(empty | zero)
        if not good.any():
            return
        points = self.curves.setdefault(key, Points(source))
        for place, time_s in zip(places[good].tolist(), times_s[good].tolist(), strict=True):
            points.times.setdefault(tuple(place), []).append(time_s)

    def add_operation(self, operation: Operation, times_s: Array, source: str, file: Path) -> None:
        """Put times at the shapes of an operation whose amounts are arrays."""
        curve = curve_of(operation)
        self.add(curve.key, curve.places, times_s, source, file)

    def add_experts(
        self, tokens: Array, times_s: Array, hidden: int, width: int, experts: int, picks: int, *,
        gated: bool, dtype: str, source: str, file: Path,
    ) -> None:  # fmt: skip
        """Put times of a mixture's block, shared out over its two products by their weights; width: on one GPU."""
        ups = 2 if gated else 1
        share = ups / (ups + 1)
        for part, n, k in ((share, ups * width, hidden), (1.0 - share, hidden, width)):
            operation = grouped_gemm("experts", 1, tokens, n, k, experts, picks, dtype)
            self.add_operation(operation, times_s * part, source, file)
        self.included |= {name: "the mixture's products" for name in ("experts_activation", "experts_sum")}
        self.note(
            "Mixtures: the source times the block of experts as a whole. Its time is shared out over the two products "
            "by their weights; activation and sum count as part of them."
        )

    def add_gemm(self, dtype: str, n: int, k: int, m: Array, times_s: Array, source: str, file: Path) -> None:
        """Put times of m rows times a (k, n) matrix of weights."""
        self.add_operation(gemm("gemm", 1, m, n, k, dtype), times_s, source, file)

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
