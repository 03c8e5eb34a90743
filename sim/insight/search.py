"""The highest rate of requests that still meets the targets, found by bisection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, sqrt
from pathlib import Path
from typing import Any, NamedTuple

from sim.document import Overrides, repeatable
from sim.errors import ScenarioError, at_least_one
from sim.insight.answers import Capacities
from sim.insight.belief import doubts
from sim.insight.comparison import variants_of
from sim.insight.limits import Limit, broken_limit, check_limited, hardly_meet, missed_alone, parse_limits
from sim.insight.runs import run_groups, with_seeds
from sim.scenario import Scenario, load

_MOST_DOUBLINGS = 24
_STEADY_LIFETIMES = 10
"""A run that lasts fewer mean request lifetimes than this has hardly left its beginning."""


class Trial(NamedTuple):
    """What one rate came to: means over the seeds, and the first limit that it broke ("" if none)."""

    rate_per_s: float
    broke: str
    values: dict[str, float]


@dataclass(frozen=True)
class Capacity:
    """The highest sustainable rate of one variant, in requests per second.

    `rate_per_s` met every limit and `failing_rate_per_s`, a little higher, did not: there `binding` broke. 0 means
    that no rate does, infinity for the failing one that none was found to fail.
    """

    variant: str
    rate_per_s: float
    failing_rate_per_s: float
    binding: str
    gpus: int
    usd_per_hour: float | None
    trials: tuple[Trial, ...]
    notes: tuple[str, ...] = ()
    summary: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """That of the run at that rate, with the first seed; empty where no rate passed."""

    def __repr__(self) -> str:
        above = f"above fails {self.binding}" if self.binding else "no rate was found that fails"
        return f"<Capacity of {self.variant!r}: {self.rate_per_s:.3g} requests/s; {above}>"

    @property
    def per_gpu(self) -> float:
        """Requests per second and GPU."""
        return self.rate_per_s / self.gpus

    @property
    def requests_per_usd(self) -> float | None:
        """Requests for a dollar, at that rate."""
        return self.rate_per_s * 3600 / self.usd_per_hour if self.usd_per_hour else None


@dataclass
class _Search:
    """The bracket of one variant: loads (multiples of the scenario's own rate) that passed and failed."""

    scenario: Scenario
    own_rate_per_s: float
    passed: float = 0.0
    failed: float = inf
    binding: str = ""
    trials: list[Trial] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    """About the last passing run."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """Of that run."""
    hopeless: str = ""
    """What requests miss that are served one at a time."""
    lifetimes: float = inf
    """Mean lifetimes, of requests or of sessions whose turns wait, that the last passing run lasted."""

    def next_load(self, tolerance: float) -> float | None:
        """The load to try, or None when the bracket is narrow enough."""
        if not self.trials:
            return 1.0
        if self.failed == inf:
            return None if len(self.trials) > _MOST_DOUBLINGS else self.passed * 2
        if self.hopeless:
            return None
        if self.passed == 0.0:
            return None if len(self.trials) > _MOST_DOUBLINGS else self.failed / 2
        return sqrt(self.passed * self.failed) if self.failed > self.passed * (1 + tolerance) else None


def capacity(
    source: Scenario | str | Path | Mapping[str, Any],
    *,
    attainment: float = 0.99,
    limits: str | Iterable[str] = (),
    variants: str | Sequence[str] | None = None,
    seeds: int = 1,
    tolerance: float = 0.02,
    overrides: Overrides = (),
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Capacities:
    """The highest rate of a scenario's workload, and of its variants, that meets the targets.

    The targets: that share of requests meets the scenario's slo; every one of `limits`, such as
    "p99_itl_ms <= 200", on a figure of the summary (means over the seeds); and the queue is not still growing at the
    end. All arrivals are made so many times as fast (workload.load), with the same requests; `tolerance` is the width
    of the final bracket. Raises ScenarioError for a closed loop, and where nothing limits the rate.
    """
    overrides = repeatable(overrides)
    scenario = load(source, overrides)
    wanted = parse_limits(limits)
    named = variants_of(scenario, variants)
    searches = {}
    for name, one in named.items():
        if any(part.autoscaling is not None for part in (one.cluster, *one.cluster.pools.values())):
            raise ScenarioError(f"{one.name}: a capacity is of a fixed number of replicas; set autoscaling to null")
        searches[name] = _Search(one, own_rate(one))
        check_limited(one, wanted, attainment)
    at_least_one(seeds=seeds, jobs=jobs)
    if not tolerance > 0:
        raise ScenarioError(f"tolerance must be more than 0, not {tolerance:g}")
    done = 0
    while True:
        loads = {name: search.next_load(tolerance) for name, search in searches.items()}
        due = {name: value for name, value in loads.items() if value is not None}
        if not due:
            break
        groups = [with_seeds(_at(searches[name], value), seeds) for name, value in due.items()]
        for (name, value), outcomes in zip(due.items(), run_groups(groups, jobs), strict=True):
            summaries = []
            for outcome in outcomes:
                if outcome.summary is None:
                    raise ScenarioError(f"{name}: {outcome.error}")
                summaries.append(outcome.summary)
            _judge(searches[name], value, summaries, wanted, attainment)
        done += 1
        if progress is not None:
            progress(done, done + 4 * sum(search.next_load(tolerance) is not None for search in searches.values()))
    return Capacities((_answer(name, search) for name, search in searches.items()), scenario.name)


def own_rate(scenario: Scenario) -> float:
    """Requests per second of a scenario's workload at load 1, from its first arrival to its last.

    Where turns wait for answers, the arrivals are those of sessions, each with as many requests as the mean.
    """
    table = scenario.workload.model_copy(update={"load": 1.0}).table(scenario.seed, Path(scenario.base_dir))
    if table.closed_loop is not None:
        raise ScenarioError(f"{scenario.name}: a closed loop sends as answers come, so it has no rate to raise")
    span_s = float(table.arrival_s[-1] - table.arrival_s[0])
    if span_s <= 0:
        raise ScenarioError(f"{scenario.name}: all requests arrive at once, so there is no rate to raise")
    sessions = len(table.session_begins()) if table.waits else len(table)
    return (sessions - 1) / span_s * (len(table) / sessions)


def _at(search: _Search, value: float) -> Scenario:
    workload = search.scenario.workload.model_copy(update={"load": value})
    return search.scenario.model_copy(update={"workload": workload})


def _judge(
    search: _Search, value: float, summaries: Sequence[Mapping[str, Any]], limits: Sequence[Limit], attainment: float
) -> None:
    """Narrow the bracket by what one load came to."""
    broken, values = broken_limit(summaries, limits, attainment)
    search.trials.append(Trial(value * search.own_rate_per_s, broken, values))
    if broken:
        search.failed, search.binding = min(search.failed, value), broken
        if search.passed == 0.0 and hardly_meet(summaries[0]):
            search.hopeless = missed_alone(summaries[0], limits, attainment)
    else:
        search.passed = max(search.passed, value)
        search.doubts = doubts({"": summaries[0]})
        search.summary = summaries[0]
        workload, held = search.scenario.workload, summaries[0]["sessions"]
        waits = workload.multi_turn is not None or getattr(workload.trace, "wait", False)
        lives_ms = held["mean_session_ms"] if waits and held else summaries[0]["mean_e2el_ms"]
        lifetime_s = max(lives_ms or 0.0, 1e-3) / 1e3
        search.lifetimes = summaries[0]["makespan_s"] / lifetime_s


def _answer(variant: str, search: _Search) -> Capacity:
    from sim.resolve import resolve_cluster

    cluster = resolve_cluster(search.scenario)
    notes = []
    if search.failed == inf:
        notes.append("no rate was found that fails: give the workload more requests")
    elif search.passed == 0.0:
        notes.append(search.hopeless or "no rate meets the limits, however low")
    elif search.lifetimes < _STEADY_LIFETIMES:
        notes.append(
            f"the run at this rate lasts only {search.lifetimes:.1f} mean lifetimes of a request (or a session), too "
            "few to be steady: give the workload more of them"
        )
    return Capacity(
        variant=variant,
        rate_per_s=search.passed * search.own_rate_per_s,
        failing_rate_per_s=search.failed * search.own_rate_per_s,
        binding=search.binding,
        gpus=cluster.gpus,
        usd_per_hour=cluster.usd_per_hour,
        trials=tuple(sorted(search.trials)),
        notes=(*notes, *search.doubts),
        summary=search.summary,
    )
