"""What a run shows of itself, whether it has just been made or was opened again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # heavy
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class RunViews:
    """Pictures and warnings of a run, from its `summary` and its tables `requests` and `timeline`."""

    summary: dict[str, Any]
    if TYPE_CHECKING:

        @property
        def requests(self) -> pd.DataFrame: ...
        @property
        def timeline(self) -> pd.DataFrame: ...

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from sim.report.card import run_card

        return run_card(self.summary)

    @property
    def warnings(self) -> list[str]:
        """What to know before believing the numbers; saturation first."""
        saturation = self.summary["saturation"]["reason"]
        return [*([f"saturated: {saturation}"] if saturation else []), *self.summary["warnings"]]

    def plot(self, path: str | Path | None = None) -> Figure:
        """The overview picture; with `path` also written there as PNG."""
        from sim.report.overview import overview
        from sim.report.save import drawn

        return drawn(overview(self.summary, self.requests, self.timeline), path)

    def plot_latency(self, name: str = "ttft", ax: Axes | None = None, label: str | None = None) -> Axes:
        """The share of requests at or under each TTFT, TPOT or E2E (`ttft`, `tpot`, `e2el`), with the SLO.

        Drawn into the axes of another run, the two are told apart by `label`; default: the scenarios' names.
        """
        from sim.report import panels

        return panels.latency(self.summary, self.requests, name, ax, label)

    def plot_gpu_time(self, ax: Axes | None = None) -> Axes:
        """Where the GPU-seconds went, as one bar."""
        from sim.report import panels

        return panels.gpu_time(self.summary, ax)

    def plot_timeline(self, column: str = "queue_depth", ax: Axes | None = None, label: str | None = None) -> Axes:
        """A column of `timeline` over time; in the axes of another run told apart by `label`, as in plot_latency."""
        from sim.report import panels

        return panels.over_time(self.timeline, column, ax, label or self.summary["name"] or "run")
