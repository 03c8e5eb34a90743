"""What holds a scenario back: every bottleneck taken away by itself, then every fix tried, then the best together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.document import Overrides
from sim.errors import ScenarioError, at_least_one
from sim.insight.diagnosis.change import BOTTLENECKS, IDLE, SINGLE_NODE, Change, Score, apply
from sim.insight.diagnosis.evidence import evidence
from sim.insight.diagnosis.fixes import fixes
from sim.insight.diagnosis.ideals import ideals
from sim.insight.diagnosis.trials import Trials
from sim.resolve import Cluster, resolve_cluster
from sim.run import Result, run
from sim.scenario import Scenario, load

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINDS = 0.02
"""A bottleneck binds if, without it, so large a share of the offered requests would meet the targets besides."""
MET = 0.99
"""Share of requests that must meet the targets for the cluster to be large enough."""
_WORTH = 0.005
"""Share of the offered requests that a further fix must gain, or not lose."""
_CHEAPER = 1.05
"""How much more a dollar must buy for a smaller cluster to be worth it."""
_IDLE_SHARE = 0.3
"""Idle time from which on a smaller cluster is looked for."""
_MOST_TOGETHER = 12
"""Fixes that are tried together, the best first."""

Share = Callable[[Score], float]
"""How much of the offered requests a score serves well."""


@dataclass(frozen=True)
class Binding:
    """A bottleneck, what the run's tables say of it, and the goodput without it (that of the best ideal)."""

    bottleneck: str
    evidence: str
    binds: bool
    without: str = ""
    goodput_without: float | None = None


@dataclass(frozen=True)
class Fix:
    """A change that was run, and its score."""

    change: Change
    score: Score


@dataclass
class Diagnosis:
    """What `diagnose` found. Goodput is in requests per second that meet every target.

    `waterfall` goes from today's goodput to the bound: what each bottleneck, taken away after those before it, adds.
    `together` are the fixes that were found to be best together, in the order of their choice, `after` their score.
    """

    name: str
    offered_per_s: float
    today: Score
    bindings: list[Binding]
    waterfall: list[tuple[str, float]]
    fixes: list[Fix]
    together: list[Fix]
    after: Score
    after_missed: dict[str, float]
    fixed: Scenario
    provenance: str
    warnings: list[str]
    runs: int
    seeds: int
    failed: dict[str, str] = field(default_factory=dict)
    validity: dict[str, Any] | None = None
    """Whether today's run can be believed."""
    made_with: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        held = ", ".join(one.bottleneck for one in self.binding) or "nothing"
        return f"<Diagnosis of {self.name!r}: held back by {held}; {len(self.fixes)} fixes tried>"

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from sim.insight.cards import diagnosis_card

        return diagnosis_card(self.summary())

    @property
    def binding(self) -> list[Binding]:
        """The bottlenecks that bind, worst first."""
        return [binding for binding in self.bindings if binding.binds]

    def summary(self) -> dict[str, Any]:
        """Everything in one JSON-ready dictionary, the same bytes for the same diagnosis."""
        from sim.metrics.numbers import json_ready

        told = {
            "name": self.name,
            "offered_per_s": self.offered_per_s,
            "today": asdict(self.today),
            "bottlenecks": [asdict(binding) for binding in self.bindings],
            "waterfall": [{"without": name, "request_goodput": goodput} for name, goodput in self.waterfall],
            "fixes": [_told(fix) for fix in self.fixes],
            "together": {"fixes": [_told(fix) for fix in self.together], "score": asdict(self.after)},
            "still_missed": self.after_missed,
            "failed": self.failed,
            "provenance": self.provenance,
            "warnings": self.warnings,
            "runs": self.runs,
            "seeds": self.seeds,
            "validity": self.validity,
            "made_with": self.made_with,
        }
        ready: dict[str, Any] = json_ready(told)
        return ready

    def plot(self, path: str | Path | None = None) -> Figure:
        """The picture: from today's goodput to the bound, and what the fixes reach; with `path` also written as PNG."""
        from sim.insight.diagnosis.picture import picture
        from sim.report.save import drawn

        return drawn(picture(self), path)

    def save(self, folder: str | Path) -> Path:
        """Write diagnosis.json, diagnosis.png and, if anything helps, fixed.yaml with it in: all files, or none."""
        from sim.report.folder import whole
        from sim.report.save import save_png, summary_json

        with whole(Path(folder), "diagnose", sometimes=["fixed.yaml"]) as draft:
            (draft / "diagnosis.json").write_text(summary_json(self.summary()), encoding="utf-8")
            if self.together:
                (draft / "fixed.yaml").write_text(self.fixed.to_yaml(Path(folder)), encoding="utf-8")
            save_png(self.plot(), draft / "diagnosis.png")
        return Path(folder)


def diagnose(
    source: Scenario | str | Path | Mapping[str, Any],
    *,
    seeds: int = 1,
    overrides: Overrides = (),
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Diagnosis:
    """Find which of the seven bottlenecks hold a scenario back, and which changes mend them best.

    A bottleneck binds if without it, which is simulated, at least BINDS more of the offered requests would meet the
    targets. The fixes of those that bind are each run, and the best of them together. All runs serve the same
    requests, with `seeds` seeds each. Raises ScenarioError for a scenario without slo, or with variants' errors,
    and whatever `run` raises.
    """
    at_least_one(seeds=seeds, jobs=jobs)
    scenario = load(source, overrides).model_copy(update={"variants": {}})
    if not scenario.has_targets:
        raise ScenarioError(
            f"{scenario.name}: to say what holds it back, diagnose must know what is wanted: give slo:, or "
            "--set slo.ttft=1s --set slo.tpot=50ms"
        )
    cluster = resolve_cluster(scenario)
    trials = Trials(scenario, seeds, jobs, progress)
    first = run(scenario)
    trials.know(first)
    today = trials.score([])
    offered = _offered_per_s(first)
    share = _share_of(first, offered)
    alone = _alone(trials, cluster)
    told = evidence(first, cluster)
    falls = _waterfall(trials, alone, today, share)
    binding = [name for name, _ in falls[1:]]
    if 1 - share(falls[-1][1]) >= BINDS and not first.context.closed_loop:
        binding.append(SINGLE_NODE)
    if not binding and _idle(trials, cluster, first, today):
        binding.append(IDLE)
    tried = _tried(trials, cluster, binding, today, share)
    together, after = _together(trials, cluster, tried, today, share) if binding else ([], today)
    fixed = apply(scenario, [fix.change for fix in together])
    bindings = [
        Binding(name, told[name], name in binding, *_said(alone, name))
        for name in (*binding, *(name for name in BOTTLENECKS if name not in binding))
    ]
    return Diagnosis(
        name=scenario.name,
        offered_per_s=offered,
        today=today,
        bindings=bindings,
        waterfall=[(name, one.goodput) for name, one in falls],
        fixes=tried,
        together=together,
        after=after,
        after_missed=trials.missed([fix.change for fix in together]),
        fixed=fixed,
        provenance=first.summary["provenance"],
        warnings=first.warnings,
        runs=trials.runs,
        seeds=seeds,
        failed=trials.failed,
        validity=first.summary["validity"],
        made_with=first.summary["made_with"],
    )


def _offered_per_s(first: Result) -> float:
    """Measured requests per second of arrivals; of a closed loop, whose arrivals follow the answers, throughput."""
    rows = first.record.requests
    arrivals = rows["arrival_s"][rows["measured"].astype(bool)]
    span = float(arrivals.max() - arrivals.min()) if len(arrivals) > 1 else 0.0
    if first.context.closed_loop or not span:
        return float(first.summary["request_throughput"] or 0.0)
    return len(arrivals) / span


def _share_of(first: Result, offered: float) -> Share:
    """How much of the offered requests a score serves well.

    In a closed loop faster answers bring more requests, so it is the good ones against today's throughput.
    """
    if first.context.closed_loop:
        return lambda one: one.goodput / offered if offered else 0.0
    return lambda one: one.attainment


def _alone(trials: Trials, cluster: Cluster) -> dict[str, tuple[Change, Score]]:
    """For each bottleneck the ideal without it that reaches most."""
    found = list(ideals(cluster))
    best: dict[str, tuple[Change, Score]] = {}
    for change, reached in zip(found, trials.scores([[change] for change in found]), strict=True):
        if change.bottleneck not in best or reached.goodput > best[change.bottleneck][1].goodput:
            best[change.bottleneck] = (change, reached)
    return best


def _said(alone: Mapping[str, tuple[Change, Score]], name: str) -> tuple[str, float | None]:
    return (alone[name][0].label, alone[name][1].goodput) if name in alone else ("", None)


def _waterfall(
    trials: Trials, alone: Mapping[str, tuple[Change, Score]], today: Score, share: Share
) -> list[tuple[str, Score]]:
    """Take bottlenecks away one after another, always the one that gains most then, while one gains enough.

    One that would gain by itself but no longer does when another has been taken away was only that one's effect.
    """
    found = [("today", today)]
    gone: list[Change] = []
    left = {name: change for name, (change, _) in alone.items()}
    reached = {name: one for name, (_, one) in alone.items()}
    while left:
        worst = max(left, key=lambda name: share(reached[name]))
        if share(reached[worst]) - share(found[-1][1]) < BINDS:
            break
        gone.append(left.pop(worst))
        found.append((worst, reached[worst]))
        scores = trials.scores([[*gone, change] for change in left.values()])
        reached = dict(zip(left, scores, strict=True))
    return found


def _idle(trials: Trials, cluster: Cluster, first: Result, today: Score) -> bool:
    """Whether GPUs idle, nothing is missed, and a smaller cluster does as well for less."""
    starved = first.summary["gpu_time"]["fraction"]["starved"] or 0.0
    return today.attainment >= MET and starved >= _IDLE_SHARE and bool(_smaller(trials, cluster, [], today))


def _smaller(trials: Trials, cluster: Cluster, upon: Sequence[Change], now: Score) -> list[Fix]:
    taken = {key for change in upon for key in change.touches()}
    made = [change for change in fixes(IDLE, cluster) if not change.touches() & taken]
    reached = trials.scores([[*upon, change] for change in made])
    better = [
        Fix(change, one)
        for change, one in zip(made, reached, strict=True)
        if one.attainment >= MET and one.per_usd is not None and one.value > _CHEAPER * now.value
    ]
    return sorted(better, key=lambda fix: -fix.score.value)


def _tried(trials: Trials, cluster: Cluster, binding: Sequence[str], today: Score, share: Share) -> list[Fix]:
    """Every fix of the bottlenecks that bind which helps, the best first; those that cost no GPU before the others."""
    made: dict[str, Change] = {}
    for bottleneck in binding:
        for change in fixes(bottleneck, cluster):
            made.setdefault(change.yaml(), change)
    changes = list(made.values())
    reached = trials.scores([[change] for change in changes])
    helping = [
        Fix(change, one)
        for change, one in zip(changes, reached, strict=True)
        if share(one) >= share(today) + _WORTH
        or (share(one) >= share(today) - _WORTH and one.value > _CHEAPER * today.value)
    ]
    helping.sort(key=lambda fix: (fix.change.buys, *_rank(fix.score, share)))
    # Of settings of one key that do the same, the first is enough.
    same: dict[tuple[Any, ...], Fix] = {}
    for fix in helping:
        same.setdefault((*sorted(fix.change.touches()), fix.change.buys, fix.score), fix)
    return list(same.values())


def _rank(one: Score, share: Share) -> tuple[float, float, float]:
    """Most good requests first, in whole per cents of what is offered; then value, then TTFT."""
    return -round(100 * share(one)), -one.value, one.p99_ttft_ms


def _together(
    trials: Trials, cluster: Cluster, tried: Sequence[Fix], today: Score, share: Share
) -> tuple[list[Fix], Score]:
    """The fixes that add to each other; two ways to them are tried, and the better one counts.

    Either what costs nothing comes first, and GPUs if too few requests are good even so; or the fix that reaches most,
    whatever it costs, comes first, and what costs nothing on top of it. A cluster that has become too large for what
    is left to do is then made smaller.
    """
    free = [fix for fix in tried if not fix.change.buys][:_MOST_TOGETHER]
    ways = [_on_top(trials, [], today, free, share)]
    if ways[0][1].attainment < MET:
        chosen, best = ways[0]
        ways[0] = _bought(trials, cluster, chosen, best, tried, share)
        first = min(tried, key=lambda fix: _rank(fix.score, share), default=None)
        if first is not None and first.change.buys:
            ways.append(_on_top(trials, [first], first.score, free, share))
    chosen, best = max(ways, key=lambda way: (min(way[1].attainment, MET), way[1].value))
    if best.attainment >= MET:
        smaller = _smaller(trials, cluster, [fix.change for fix in chosen], best)
        if smaller:
            return [*chosen, smaller[0]], smaller[0].score
    return chosen, best


def _on_top(
    trials: Trials, chosen: Sequence[Fix], best: Score, more: Sequence[Fix], share: Share
) -> tuple[list[Fix], Score]:
    """Add those fixes, one after another, that help on top of the chosen, until enough requests are good."""
    chosen = list(chosen)
    for fix in more:
        if best.attainment >= MET and chosen:
            break
        best = _add(trials, chosen, fix.change, best, share)
    return chosen, best


def _bought(
    trials: Trials, cluster: Cluster, chosen: Sequence[Fix], best: Score, tried: Sequence[Fix], share: Share
) -> tuple[list[Fix], Score]:
    """The chosen, and the GPUs that are enough for the least money; or those that reach most."""
    more = [fix.change for fix in tried if fix.change.buys] or fixes(SINGLE_NODE, cluster)
    taken = {key for fix in chosen for key in fix.change.touches()}
    more = [change for change in more if not change.touches() & taken]
    scores = trials.scores([[*(fix.change for fix in chosen), change] for change in more])
    reached = [Fix(change, one) for change, one in zip(more, scores, strict=True)]
    if enough := [fix for fix in reached if fix.score.attainment >= MET]:
        found = max(enough, key=lambda fix: fix.score.value)
    elif some := [fix for fix in reached if share(fix.score) > share(best)]:
        found = min(some, key=lambda fix: _rank(fix.score, share))
    else:
        return list(chosen), best
    return [*chosen, found], found.score


def _add(trials: Trials, chosen: list[Fix], change: Change, best: Score, share: Share) -> Score:
    """Add a change to the chosen if it helps on top of them; return the best score."""
    if any(change.touches() & fix.change.touches() for fix in chosen):
        return best
    reached = trials.score([*(fix.change for fix in chosen), change])
    gains = share(reached) >= share(best) + _WORTH
    if gains or (share(reached) >= share(best) and reached.value > _CHEAPER * best.value):
        chosen.append(Fix(change, reached))
        return reached
    return best


def _told(fix: Fix) -> dict[str, Any]:
    return {
        "fix": fix.change.label,
        "against": fix.change.bottleneck,
        "lines": fix.change.yaml(),
        "buys": fix.change.buys,
        **asdict(fix.score),
    }
