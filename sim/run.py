"""Run a scenario: load, simulate, measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from sim.report.views import RunViews

if TYPE_CHECKING:  # heavy; imported when a run needs them, so that `import sim` stays fast
    import pandas as pd

    from sim.document import Overrides
    from sim.metrics import RunContext
    from sim.record import Record
    from sim.scenario import Scenario


def run(
    scenario: Scenario | str | Path | Mapping[str, Any],
    *,
    overrides: Overrides = (),
    variant: str | None = None,
    fast_forward: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Simulate a scenario: a YAML file, a shipped scenario's name, a mapping, or a loaded Scenario.

    `overrides` are like ["engine.max_num_seqs=64"] or {"engine.max_num_seqs": 64}; `variant` picks one of the
    scenario's variants; `fast_forward` off simulates every step on its own, with the same result; `progress` is called
    with (requests done, of how many). Raises ServecastError for whatever the user can mend.
    """
    from sim.measure import measure
    from sim.scenario import load

    began = perf_counter()
    loaded = load(scenario, overrides)
    if variant is not None:
        loaded = loaded.variant(variant)
    try:
        resolved, record, context, summary = measure(loaded, fast_forward=fast_forward, progress=progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None  # without the event loop's account of it
    return Result(resolved, record, context, summary, perf_counter() - began)


class Result(RunViews):
    """What a run came to.

    `summary` is JSON-ready and, like the tables, the same bytes for the same scenario, seed and version;
    `wall_s`, the time that the simulation took, is no part of it. `scenario` has every default made explicit;
    `record` holds the raw tables, `context` what the metrics knew beside them.
    """

    def __init__(
        self, scenario: Scenario, record: Record, context: RunContext, summary: dict[str, Any], wall_s: float
    ) -> None:
        self.scenario = scenario
        self.record = record
        self.summary = summary
        self.wall_s = wall_s
        self.context = context

    def __repr__(self) -> str:
        counts = self.summary["requests"]
        return f"<Result of {self.scenario.name!r}: {counts['finished']} of {counts['total']} requests finished>"

    @cached_property
    def requests(self) -> pd.DataFrame:
        """One row per request, in the order of arrival, with its latencies in seconds."""
        from sim.metrics import requests_frame

        return requests_frame(self.record.requests, self.record.tenants)

    @cached_property
    def steps(self) -> pd.DataFrame:
        """One row per run of like steps of one replica."""
        from sim.metrics import steps_frame

        return steps_frame(self.record.steps)

    @cached_property
    def pauses(self) -> pd.DataFrame:
        """One row for each time that a request missed steps in which others got tokens: preempted, or out of budget.

        `request` is its id, `start_s` its token before and `end_s` its token after.
        """
        import pandas as pd

        return pd.DataFrame(self.record.pauses)

    @cached_property
    def timeline(self) -> pd.DataFrame:
        """Arrivals, queue, batch, KV blocks and latencies over time."""
        from sim.metrics import timeline

        return timeline(self.record.requests, self.record.steps, self.context)

    def save(self, folder: str | Path) -> Path:
        """Write tables (Parquet), summary.json, scenario.resolved.yaml and overview.png into `folder`.

        All files are written, or none. Raises ServecastError when they cannot be.
        """
        from sim.report.save import TABLES, save

        return save(
            folder,
            summary=self.summary,
            tables={name: getattr(self, name) for name in TABLES},
            resolved_yaml=self.scenario.to_yaml(Path(folder)),
            figure=self.plot(),
        )
