"""The smallest and the cheapest cluster that carries a load and meets its targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from sim.errors import ScenarioError, at_least_one
from sim.insight.limits import Limit, broken_limit, check_limited, parse_limit
from sim.insight.runs import Outcome, run_groups, with_seeds
from sim.resolve import resolve_cluster
from sim.resolve.naming import gpu_profile
from sim.scenario import Scenario, load


@dataclass(frozen=True)
class Size:
    """The fewest replicas of one kind that carry the load; `replicas` is 0 where none do, and `why` says so.

    With pools, `replicas` is those of all of them, and `pools` has each one's. `values` are the figures that limits
    are on.
    """

    gpu: str
    tensor_parallel: int
    replicas: int
    gpus: int
    usd_per_hour: float | None
    why: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    pools: Mapping[str, int] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def carries(self) -> bool:
        """Whether it meets the targets."""
        return self.replicas > 0


@dataclass
class _Bracket:
    """One kind of replica: how many are too few, how many are enough, and what is known of both."""

    kind: Scenario
    gpu: str
    tensor_parallel: int
    fewer: int = 0
    enough: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    broke: str = ""
    error: str = ""

    def scenario(self, replicas: int) -> Scenario:
        """The scenario with so many."""
        return self.kind.model_copy(update={"cluster": self.kind.cluster.model_copy(update={"replicas": replicas})})

    def next_replicas(self, most_gpus: int, most_usd: float, per_gpu: float | None) -> int | None:
        """How many to try; None if it is known, or nothing affordable is left."""
        if self.error:
            return None
        asked = 2 * self.fewer or 1 if self.enough is None else (self.fewer + self.enough) // 2
        if asked == self.fewer:
            return None
        if self.enough is None:
            most = most_gpus // self.tensor_parallel
            if per_gpu:
                most = min(most, int(most_usd / (per_gpu * self.tensor_parallel) + 1e-9) if most_usd < inf else most)
            if self.fewer >= most:
                return None
            asked = min(asked, most)
        return asked


def size(
    source: Scenario | str | Path | Mapping[str, Any],
    *,
    gpus: Sequence[str] = (),
    tensor_parallel: Sequence[int] = (),
    most_gpus: int = 64,
    attainment: float = 0.99,
    limits: Iterable[str] = (),
    seeds: int = 1,
    overrides: Iterable[str] = (),
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Size]:
    """For each kind of replica the fewest that meet the targets under the scenario's load, the cheapest kind first.

    Kinds are the `gpus` (profiles; default: the scenario's own) times the `tensor_parallel` widths (default: its own).
    More replicas are taken never to serve worse: the number is doubled until it is enough, then bisected. A kind is
    given up when even the next number would cost more than what is known to be enough, or need over `most_gpus`. A
    cluster with pools keeps their GPUs, and each pool's replicas are made as few as the others allow, one pool after
    another. Raises ScenarioError where nothing says what must be met, and if no kind can be run at all.
    """
    scenario = load(source, overrides).model_copy(update={"variants": {}})
    wanted = [parse_limit(text) for text in limits]
    check_limited(scenario, wanted, attainment)
    at_least_one(most_gpus=most_gpus, seeds=seeds, jobs=jobs)
    for width in tensor_parallel:
        at_least_one(tensor_parallel=width)
    judge = _Judge(wanted, attainment, seeds, jobs, progress)
    if scenario.cluster.pools:
        if gpus or tensor_parallel:
            raise ScenarioError("--gpu and --tensor-parallel size one kind of replica; the pools have their own")
        return [_pools(scenario, judge, most_gpus)]
    named = list(gpus) or [scenario.cluster.gpu]
    widths = list(tensor_parallel) or [scenario.cluster.tensor_parallel]
    brackets = [_bracket(scenario, gpu, width) for gpu in named for width in widths]
    _narrow(brackets, judge, most_gpus)
    cheapest = min((_usd(one, one.enough) for one in brackets), default=inf)
    found = [_answer(bracket, cheapest) for bracket in brackets]
    if all(bracket.error for bracket in brackets):
        raise ScenarioError(f"no kind of replica can be run, the first because: {brackets[0].error}")
    return sorted(found, key=_order)


class _Judge:
    """Runs scenarios, and says which of them meet the targets."""

    def __init__(
        self, limits: Sequence[Limit], attainment: float, seeds: int, jobs: int | None,
        progress: Callable[[int, int], None] | None,
    ) -> None:  # fmt: skip
        self.limits = limits
        self.attainment = attainment
        self.seeds = seeds
        self.jobs = jobs
        self.progress = progress
        self.rounds = 0

    def verdicts(self, scenarios: Sequence[Scenario]) -> list[tuple[str, str, Mapping[str, float], Mapping[str, Any]]]:
        """(why it cannot be run, which limit it breaks, its figures, its first summary) of each."""
        outcomes = run_groups([with_seeds(one, self.seeds) for one in scenarios], self.jobs)
        self.rounds += 1
        if self.progress is not None:
            self.progress(self.rounds, self.rounds + 3)
        return [self._verdict(mine) for mine in outcomes]

    def _verdict(self, outcomes: Sequence[Outcome]) -> tuple[str, str, Mapping[str, float], Mapping[str, Any]]:
        error = next((outcome.error for outcome in outcomes if outcome.error), "")
        if error:
            return error, "", {}, {}
        summaries = [outcome.summary for outcome in outcomes if outcome.summary is not None]
        broke, values = broken_limit(summaries, self.limits, self.attainment)
        return "", broke, values, summaries[0]


def _bracket(scenario: Scenario, gpu: str, width: int) -> _Bracket:
    given = scenario.cluster
    # The scenario's price is that of its own GPU; another has its profile's.
    price = given.gpu_price_per_hour if gpu == given.gpu else None
    changes = {"gpu": gpu, "tensor_parallel": width, "gpu_price_per_hour": price}
    return _Bracket(scenario.model_copy(update={"cluster": given.model_copy(update=changes)}), gpu, width)


def _narrow(brackets: Sequence[_Bracket], judge: _Judge, most_gpus: int) -> None:
    """Try the next number of every bracket at once, until all are known or not worth knowing."""
    while True:
        cheapest = min((_usd(one, one.enough) for one in brackets if one.enough is not None), default=inf)
        asked = [(one, one.next_replicas(most_gpus, cheapest, _price(one))) for one in brackets]
        due = [(one, count) for one, count in asked if count is not None]
        if not due:
            return
        verdicts = judge.verdicts([one.scenario(count) for one, count in due])
        for (one, count), (error, broke, values, summary) in zip(due, verdicts, strict=True):
            if error:
                one.error = error
            elif broke:
                one.fewer, one.broke = count, broke
                if one.enough is None:
                    one.values = values
            else:
                one.enough, one.values, one.summary = count, values, summary


def _price(bracket: _Bracket) -> float | None:
    """US dollars for one GPU and hour."""
    given = bracket.kind.cluster.gpu_price_per_hour
    if given is not None:
        return given
    return gpu_profile(bracket.kind, bracket.gpu).price_usd_per_hour


def _usd(bracket: _Bracket, replicas: int | None) -> float:
    price = None if bracket.error else _price(bracket)
    return inf if price is None or replicas is None else price * bracket.tensor_parallel * replicas


def _answer(bracket: _Bracket, cheapest: float) -> Size:
    enough = bracket.enough
    if enough is None or bracket.error:
        dearer = "; more are dearer than what is enough" if _usd(bracket, bracket.fewer + 1) > cheapest else ""
        why = f"{_replicas(bracket.fewer)}: {bracket.broke}{dearer}" if bracket.fewer else dearer.removeprefix("; ")
        why = bracket.error.partition("\n")[0] or why
        return Size(bracket.gpu, bracket.tensor_parallel, 0, 0, None, why, bracket.values)
    cost = _usd(bracket, enough)
    return Size(
        bracket.gpu, bracket.tensor_parallel, enough, enough * bracket.tensor_parallel, None if cost == inf else cost,
        f"{_replicas(bracket.fewer)}: {bracket.broke}" if bracket.fewer else "one is enough",
        bracket.values, summary=bracket.summary,
    )  # fmt: skip


def _replicas(count: int) -> str:
    return f"{count} replica{'s' * (count != 1)}" if count else ""


def _order(one: Size) -> tuple[bool, float, int]:
    return not one.carries, inf if one.usd_per_hour is None else one.usd_per_hour, one.gpus


def _pools(scenario: Scenario, judge: _Judge, most_gpus: int) -> Size:
    """Double all pools until they are enough together; then make one after another as small as can be."""
    names = list(scenario.cluster.pools)
    counts = dict.fromkeys(names, 1)
    broke = ""
    values: Mapping[str, float] = {}
    summary: Mapping[str, Any] = {}

    def meets(tried: Mapping[str, int]) -> bool:
        nonlocal broke, values, summary
        error, broken, figures, told = judge.verdicts([_with(scenario, tried)])[0]
        if error:
            raise ScenarioError(error)
        if broken:
            broke = broken
        else:
            values, summary = figures, told
        return not broken

    while not meets(counts):
        counts = {name: 2 * count for name, count in counts.items()}
        gpus = resolve_cluster(_with(scenario, counts)).gpus
        if gpus > most_gpus:
            why = f"{gpus // 2} GPUs: {broke}; more than --most-gpus {most_gpus} would be needed"
            return Size("", 0, 0, 0, None, why)
    for name in names:
        fewer, enough = 0, counts[name]
        while enough - fewer > 1:
            tried = (fewer + enough) // 2
            if meets({**counts, name: tried}):
                enough = tried
            else:
                fewer = tried
        counts[name] = enough
    cluster = resolve_cluster(_with(scenario, counts))
    told = " + ".join(dict.fromkeys(setup.profile.name for setup in cluster.pools.values()))
    total, why = sum(counts.values()), f"one fewer in a pool: {broke}"
    return Size(told, 0, total, cluster.gpus, cluster.usd_per_hour, why, values, counts, summary)


def _with(scenario: Scenario, counts: Mapping[str, int]) -> Scenario:
    pools = {name: pool.model_copy(update={"replicas": counts[name]}) for name, pool in scenario.cluster.pools.items()}
    return scenario.model_copy(update={"cluster": scenario.cluster.model_copy(update={"pools": pools})})
