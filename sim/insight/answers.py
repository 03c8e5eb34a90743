"""Several sizes or capacities: lists that notebooks show, as a table, and that can be drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from sim.report import markup

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from sim.insight.search import Capacity
    from sim.insight.sizing import Size


class Sizes(list["Size"]):
    """What `size` found, the cheapest kind of replica first; `name` is the scenario's."""

    def __init__(self, found: Iterable[Size], name: str) -> None:
        super().__init__(found)
        self.name = name

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from sim.insight.size_table import COLUMNS, cells, notes

        return _card(self.name, COLUMNS, [cells(one) for one in self], notes(self))

    @property
    def table(self) -> pd.DataFrame:
        """One row per kind of replica: how many, what they cost, why not fewer, and the figures that limits are on."""
        import pandas as pd

        names = ("gpu", "tensor_parallel", "replicas", "gpus", "usd_per_hour", "why")
        return pd.DataFrame([{name: getattr(one, name) for name in names} | dict(one.values) for one in self])

    def plot(self, path: str | Path | None = None) -> Figure:
        """What is enough, in GPUs and US dollars an hour, as bars; with `path` also written there as PNG."""
        from sim.insight.answer_pictures import sizes_picture
        from sim.report.save import drawn

        return drawn(sizes_picture(self, self.name), path)


class Capacities(list["Capacity"]):
    """What `capacity` found, in the order of the variants; `name` is the scenario's."""

    def __init__(self, found: Iterable[Capacity], name: str) -> None:
        super().__init__(found)
        self.name = name

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from sim.insight.capacity_table import COLUMNS, cells, notes

        return _card(self.name, COLUMNS, [cells(one) for one in self], notes(self))

    @property
    def table(self) -> pd.DataFrame:
        """One row per variant: its highest rate, that per GPU and per dollar, and what fails above it."""
        import pandas as pd

        names = ("variant", "rate_per_s", "per_gpu", "requests_per_usd", "failing_rate_per_s", "binding", "gpus")
        return pd.DataFrame([{name: getattr(one, name) for name in names} for one in self])

    def plot(self, path: str | Path | None = None) -> Figure:
        """The highest rates, whole, per GPU and per dollar, as bars; with `path` also written there as PNG."""
        from sim.insight.answer_pictures import capacities_picture
        from sim.report.save import drawn

        return drawn(capacities_picture(self, self.name), path)


def _card(name: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Iterable[str]) -> str:
    told = markup.bullets(f"note: {note}" for note in notes)
    cells: list[list[markup.Cell]] = [[*figures, (why, "word")] for *figures, why in rows]
    return markup.card(f"<p><b>{escape(name)}</b></p>", markup.table(columns, cells), told)
