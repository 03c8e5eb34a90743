"""A trace's description on disk, with what a page draws of it."""

from pathlib import Path
from typing import Any

import numpy as np

from sim.insight.traces.opened import Opened
from sim.insight.traces.picture import picture
from sim.report.folder import whole
from sim.report.save import save_png, summary_json

_MOST_BUCKETS = 240
_SHARES = np.linspace(0.0, 1.0, 101)


def save_description(opened: Opened, told: dict[str, Any], folder: Path) -> None:
    """Write trace.json and trace.png into `folder`: both, or none. `told` is what `describe` said of the trace."""
    with whole(folder, "trace describe") as draft:
        text = summary_json({"name": opened.path.name, **told, "drawn": _drawn(opened)})
        (draft / "trace.json").write_text(text, encoding="utf-8")
        save_png(picture(opened, told), draft / "trace.png")


def _drawn(opened: Opened) -> dict[str, Any]:
    """Arrivals in each of some buckets of time, and lengths at each hundredth of the requests."""
    table = opened.table
    lengths = {name: np.quantile(getattr(table, name), _SHARES).tolist() for name in ("prompt_tokens", "output_tokens")}
    times = table.arrival_s
    if not opened.timed or times[-1] <= times[0]:
        return {"shares": _SHARES.tolist(), **lengths}
    width = max((times[-1] - times[0]) / _MOST_BUCKETS, opened.grid_s or 0.0)
    edges = times[0] + width * np.arange(int(np.ceil((times[-1] - times[0]) / width)) + 1)
    counts = np.histogram(times, edges)[0]
    middle = (edges[:-1] + edges[1:]) / 2 - times[0]
    arrivals = {"time_s": middle.tolist(), "arrivals_per_s": (counts / width).tolist()}
    return {"shares": _SHARES.tolist(), **lengths, **arrivals}
