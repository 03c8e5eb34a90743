"""Many scenarios at once, from a grid or a search; what is best of them in several respects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.document import Overrides
from sim.errors import ScenarioError, at_least_one
from sim.insight.comparison import METRICS, metrics_of
from sim.insight.runs import Outcome, run_each
from sim.insight.sweeps.axes import Axis, axis, grid, read_value
from sim.insight.sweeps.kept import Kept, key_of
from sim.provenance import versions
from sim.report.folder import RUNS, check_folder
from sim.scenario import Scenario, load

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

OBJECTIVES = ("request_goodput", "p99_ttft_ms", "usd_per_million_output_tokens")
"""What a sweep looks at unless told otherwise; without targets requests_throughput, without prices no cost."""
_TOGETHER = 16
"""Points that a search asks for before it learns what they came to: the same however many processes there are."""


@dataclass(frozen=True)
class Point:
    """One combination: its overrides, the means of its metrics over the seeds, and why it failed, if it did."""

    overrides: tuple[str, ...]
    metrics: Mapping[str, float]
    saturated: bool = False
    error: str = ""
    validity: Mapping[str, Any] = field(default_factory=dict)
    """Whether its first run can be believed (see sim.metrics.validity)."""


@dataclass(frozen=True)
class Sweep:
    """All points of a sweep, in the order in which they were asked for."""

    name: str
    keys: tuple[str, ...]
    objectives: tuple[str, ...]
    points: tuple[Point, ...]
    seeds: int
    from_before: int
    """Runs that had been made before and were kept."""
    notes: tuple[str, ...] = field(default=())

    def __repr__(self) -> str:
        over = f"{len(self.points)} points over {', '.join(self.keys)}"
        return f"<Sweep of {self.name!r}: {over}, of which {len(self.frontier)} no other beats>"

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from sim.insight.cards import sweep_card

        return sweep_card(self)

    @property
    def failed(self) -> list[Point]:
        """The points that could not be run."""
        return [point for point in self.points if point.error]

    @cached_property
    def frontier(self) -> list[Point]:
        """The points that no other beats in all objectives; by the first objective, the best first."""
        able = [point for point in self.points if not point.error and self._known(point)]
        best = [one for one in able if not any(self._beats(other, one) for other in able)]
        return sorted(best, key=lambda point: self._costs(point))

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per point: its keys, its metrics, whether it is on the frontier, and its error."""
        import pandas as pd

        on_it = {id(point) for point in self.frontier}
        rows = []
        for point in self.points:
            row: dict[str, Any] = dict(read_value(override) for override in point.overrides)
            row |= dict(point.metrics)
            rows.append(row | {"saturated": point.saturated, "frontier": id(point) in on_it, "error": point.error})
        return pd.DataFrame(rows, columns=[*self.keys, *METRICS, "saturated", "frontier", "error"])

    def plot(self, path: str | Path | None = None) -> Figure:
        """All points over two objectives, the third as colour; with `path` also written there as PNG."""
        from sim.insight.sweeps.picture import picture
        from sim.report.save import drawn

        return drawn(picture(self), path)

    def summary(self) -> dict[str, Any]:
        """What the table does not say, JSON-ready: objectives, notes, and whether the best points can be believed."""
        return {
            "name": self.name,
            "keys": list(self.keys),
            "objectives": list(self.objectives),
            "seeds": self.seeds,
            "notes": list(self.notes),
            "validity": {", ".join(point.overrides): point.validity for point in self.frontier if point.validity},
            "made_with": {"versions": versions()},
        }

    def save(self, folder: str | Path) -> Path:
        """Write sweep.csv, sweep.json and sweep.png into `folder`: all, or none."""
        from sim.report.folder import whole
        from sim.report.save import save_png, summary_json

        with whole(Path(folder), "sweep") as draft:
            (draft / "sweep.json").write_text(summary_json(self.summary()), encoding="utf-8")
            self.table.to_csv(draft / "sweep.csv", index=False)
            save_png(self.plot(), draft / "sweep.png")
        return Path(folder)

    def _costs(self, point: Point) -> tuple[float, ...]:
        """The objectives so that less is better."""
        return tuple(
            -point.metrics[name] if METRICS[name].more_is_better else point.metrics[name] for name in self.objectives
        )

    def _known(self, point: Point) -> bool:
        return all(isfinite(point.metrics[name]) for name in self.objectives)

    def _beats(self, one: Point, other: Point) -> bool:
        ours, theirs = self._costs(one), self._costs(other)
        return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))


def sweep(
    source: Scenario | str | Path | Mapping[str, Any],
    grid_: str | Iterable[str],
    *,
    search: int | None = None,
    objectives: Sequence[str] | None = None,
    seeds: int = 1,
    overrides: Overrides = (),
    keep: str | Path | None = None,
    jobs: int | None = None,
    ray: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Run a scenario for every combination of the grid's values, or search them with `search` trials.

    `grid_` is like ["engine.max_num_seqs=64,128", "cluster.replicas=1,2,4"]; a search also takes ranges,
    "engine.max_num_seqs=16:1024:log". The search is Optuna's NSGA-II with the scenario's seed over all objectives at
    once, metrics of `METRICS`. Runs are kept in the folder `keep` by what decides them, and found there again. `ray`
    is the address of a Ray cluster to run on, in place of `jobs` local processes: the same answers. A point that
    fails is reported, not lost. Raises ScenarioError for an axis or objective that cannot be, and if all points fail.
    """
    at_least_one(seeds=seeds, search=search, jobs=jobs)
    axes = [axis(text) for text in ([grid_] if isinstance(grid_, str) else grid_)]
    if not axes:
        raise ScenarioError("nothing varies: give --grid engine.max_num_seqs=64,128,256")
    scenario = load(source, overrides).model_copy(update={"variants": {}})
    wanted = _objectives(objectives, scenario)
    check_folder(None if keep is None else Path(keep), "sweep")
    runner = _Runner(scenario, seeds, Kept(None if keep is None else Path(keep) / RUNS), jobs, ray, progress)
    points = _searched(axes, search, wanted, runner, scenario.seed) if search else runner.points(grid(axes))
    if all(point.error for point in points):
        raise ScenarioError(f"every point of the sweep failed, the first because: {points[0].error}")
    known, notes = _with_values(wanted, points)
    return Sweep(scenario.name, tuple(one.key for one in axes), known, tuple(points), seeds, runner.from_before, notes)


class _Runner:
    """Runs points, those that were kept aside."""

    def __init__(
        self, scenario: Scenario, seeds: int, kept: Kept, jobs: int | None, ray: str | None,
        progress: Callable[[int, int], None] | None,
    ) -> None:  # fmt: skip
        self.scenario = scenario
        self.seeds = seeds
        self.kept = kept
        self.jobs = jobs
        self.ray = ray
        self.progress = progress
        self.done = self.from_before = 0
        self.total = 0

    def points(self, combinations: Sequence[tuple[str, ...]], total: int | None = None) -> list[Point]:
        """What each combination comes to; `total` is how many there will be in all."""
        self.total = (len(combinations) if total is None else total) * self.seeds
        errors: dict[int, str] = {}
        asked: list[tuple[int, Scenario, str]] = []
        outcomes: dict[tuple[int, int], Outcome] = {}
        for index, combination in enumerate(combinations):
            try:
                changed = load(self.scenario, combination)
            except ScenarioError as error:
                errors[index] = str(error)
                self._tell(self.seeds)
                continue
            for number in range(self.seeds):
                one = changed.model_copy(update={"seed": changed.seed + number})
                key = key_of(one)
                known = self.kept.get(key)
                if known is None:
                    asked.append((index, one, key))
                else:
                    outcomes[index, one.seed] = known
                    self.from_before += 1
                    self._tell(1)
        answers = run_each([one for _, one, _ in asked], self.jobs, self.ray) if asked else iter(())
        for place, outcome in answers:
            index, one, key = asked[place]
            self.kept.put(key, outcome)
            outcomes[index, one.seed] = outcome
            self._tell(1)
        return [
            _point(combination, errors.get(index, ""), [o for (i, _), o in sorted(outcomes.items()) if i == index])
            for index, combination in enumerate(combinations)
        ]

    def _tell(self, runs: int) -> None:
        self.done += runs
        if self.progress is not None:
            self.progress(self.done, self.total)


def _point(overrides: tuple[str, ...], error: str, outcomes: Sequence[Outcome]) -> Point:
    error = error or next((outcome.error for outcome in outcomes if outcome.error), "")
    if error:
        return Point(overrides, dict.fromkeys(METRICS, float("nan")), error=error)
    summaries = [outcome.summary for outcome in outcomes if outcome.summary is not None]
    each = [metrics_of(summary) for summary in summaries]
    means = {name: sum(one[name] for one in each) / len(each) for name in METRICS}
    saturated = any(summary["saturated"] for summary in summaries)
    return Point(overrides, means, saturated, validity=summaries[0]["validity"])


def _searched(axes: Sequence[Axis], trials: int, objectives: Sequence[str], runner: _Runner, seed: int) -> list[Point]:
    """Points that Optuna asks for, some at a time, so that the number of processes changes nothing."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ways = optuna.study.StudyDirection
    directions = [ways.MAXIMIZE if METRICS[name].more_is_better else ways.MINIMIZE for name in objectives]
    sampler = optuna.samplers.NSGAIISampler(seed=seed % (1 << 32), population_size=_TOGETHER)
    study = optuna.create_study(directions=directions, sampler=sampler)
    points: list[Point] = []
    while len(points) < trials:
        asked = [study.ask() for _ in range(min(_TOGETHER, trials - len(points)))]
        combinations = [tuple(f"{one.key}={one.suggest(trial)}" for one in axes) for trial in asked]
        for trial, point in zip(asked, runner.points(combinations, trials), strict=True):
            points.append(point)
            values = [point.metrics[name] for name in objectives]
            if point.error or not all(map(isfinite, values)):
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, values)
    return points


def _objectives(asked: Sequence[str] | None, scenario: Scenario) -> tuple[str, ...]:
    if asked is None:
        return OBJECTIVES if scenario.has_targets else ("output_throughput", *OBJECTIVES[1:])
    for name in asked:
        if name not in METRICS or METRICS[name].more_is_better is None:
            able = [metric for metric, told in METRICS.items() if told.more_is_better is not None]
            raise ScenarioError(f"--objective: {name!r} is none of {', '.join(able)}")
    if not asked or len(set(asked)) < len(asked):
        raise ScenarioError("--objective: give each once, and at least one")
    return tuple(asked)


def _with_values(objectives: Sequence[str], points: Sequence[Point]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those objectives that some point has a value of, and what to say of the others."""
    known = tuple(name for name in objectives if any(isfinite(point.metrics[name]) for point in points))
    if not known:
        raise ScenarioError(f"no point has a value of {', '.join(objectives)}: give slo:, or another --objective")
    left_out = [METRICS[name].label for name in objectives if name not in known]
    return known, tuple(f"no point has a value of {label}: it is left out" for label in left_out)
