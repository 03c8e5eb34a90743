"""The smallest and the cheapest cluster that carries a load and meets its targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from pathlib import Path
from typing import Any

from sim import hardware
from sim.choice import nearest
from sim.document import Overrides
from sim.errors import ScenarioError, ServecastError, at_least_one
from sim.insight.answers import Sizes
from sim.insight.brackets import Bracket, cheapest, narrow
from sim.insight.judge import Judge
from sim.insight.limits import check_limited, parse_limits
from sim.insight.pool_sizes import size_pools
from sim.resolve import resolve_cluster
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

    def __repr__(self) -> str:
        kind = f"{self.gpu} TP{self.tensor_parallel}" if self.tensor_parallel else self.gpu
        if not self.carries:
            return f"<Size of {kind}: none; {self.why}>"
        cost = "" if self.usd_per_hour is None else f", ${self.usd_per_hour:.2f}/h"
        return f"<Size of {kind}: {_replicas(self.replicas)}, {self.gpus} GPU{'s' * (self.gpus != 1)}{cost}>"

    @property
    def carries(self) -> bool:
        """Whether it meets the targets."""
        return self.replicas > 0


def size(
    source: Scenario | str | Path | Mapping[str, Any],
    *,
    gpus: str | Sequence[str] = (),
    tensor_parallel: int | Sequence[int] = (),
    most_gpus: int = 64,
    attainment: float = 0.99,
    limits: str | Iterable[str] = (),
    prices: Mapping[str, float] | None = None,
    finish_all: bool = False,
    seeds: int = 1,
    overrides: Overrides = (),
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sizes:
    """For each kind of replica the fewest that meet the targets under the scenario's load, the cheapest kind first.

    Kinds are the `gpus` (profiles, or "all"; default: the scenario's own) times the `tensor_parallel` widths (default:
    its own); `prices` are US dollars for one GPU and hour, where they are not the profiles'. More replicas are taken
    never to serve worse: the number is doubled until it is enough, then bisected. A kind is given up when it would
    need over `most_gpus`, when one request alone misses a target on it, and, unless it is the scenario's own GPU or
    with `finish_all`, when even the next number would cost more than what is known to be enough. A cluster with pools
    keeps their GPUs, and each pool's replicas are made as few as the others allow, one pool after another. Raises
    ScenarioError where nothing says what must be met, and if no kind can be run at all.
    """
    scenario = load(source, overrides).model_copy(update={"variants": {}})
    wanted = parse_limits(limits)
    check_limited(scenario, wanted, attainment)
    at_least_one(most_gpus=most_gpus, seeds=seeds, jobs=jobs)
    given = scenario.cluster
    gpus = [gpus] if isinstance(gpus, str) else list(gpus)
    named = hardware.names() if "all" in gpus else gpus or [given.gpu]
    widths = [tensor_parallel] if isinstance(tensor_parallel, int) else list(tensor_parallel)
    for width in widths:
        at_least_one(tensor_parallel=width)
    prices = _checked(prices or {}, {pool.gpu or given.gpu for pool in given.pools.values()} or set(named))
    judge = Judge(wanted, attainment, seeds, jobs, progress)
    if given.pools:
        if gpus or widths:
            raise ScenarioError("--gpu and --tensor-parallel size one kind of replica; the pools have their own")
        return Sizes([_pools(_with_prices(scenario, prices), judge, most_gpus)], scenario.name)
    widths = widths or [given.tensor_parallel]
    brackets = [_bracket(scenario, gpu, width, prices, finish_all) for gpu in named for width in widths]
    narrow(brackets, judge, most_gpus)
    if all(bracket.error for bracket in brackets):
        raise ScenarioError(f"no kind of replica can be run, the first because: {brackets[0].error}")
    least = cheapest(brackets)
    return Sizes(sorted((_answer(bracket, most_gpus, least) for bracket in brackets), key=_order), scenario.name)


def _checked(prices: Mapping[str, float], named: Iterable[str]) -> Mapping[str, float]:
    for gpu, price in prices.items():
        if gpu not in named:
            raise ScenarioError(f"a price is given for {gpu!r}, which is not among the GPUs{nearest(gpu, named)}")
        if not (isfinite(price) and price >= 0):
            raise ScenarioError(f"the price of {gpu} must be US dollars an hour, 0 or more, not {price:g}")
    return prices


def _bracket(scenario: Scenario, gpu: str, width: int, prices: Mapping[str, float], finish_all: bool) -> Bracket:
    given = scenario.cluster
    # The scenario's price is that of its own GPU; another has its profile's.
    price = prices.get(gpu, given.gpu_price_per_hour if gpu == given.gpu else None)
    changes = {"gpu": gpu, "tensor_parallel": width, "gpu_price_per_hour": price}
    kind = scenario.model_copy(update={"cluster": given.model_copy(update=changes)})
    return Bracket(kind, gpu, width, finish=finish_all or gpu == given.gpu)


def _answer(bracket: Bracket, most_gpus: int, least_usd: float) -> Size:
    enough, fewer = bracket.enough, bracket.fewer
    if enough is None or bracket.error:
        why = _why_none(bracket, most_gpus, least_usd)
        return Size(bracket.gpu, bracket.tensor_parallel, 0, 0, None, why, bracket.values)
    cost = bracket.usd(enough)
    return Size(
        bracket.gpu, bracket.tensor_parallel, enough, enough * bracket.tensor_parallel, None if cost == inf else cost,
        f"{_replicas(fewer)}: {bracket.broke}" if fewer else "one is enough", bracket.values, summary=bracket.summary,
    )  # fmt: skip


def _why_none(bracket: Bracket, most_gpus: int, least_usd: float) -> str:
    if bracket.error:
        return _with_hint(bracket)
    if bracket.alone:
        return bracket.alone
    width, fewer = bracket.tensor_parallel, bracket.fewer
    if not fewer and width > most_gpus:
        return f"one replica is {width} GPUs, more than --most-gpus {most_gpus}"
    if bracket.usd(fewer + 1) > least_usd and bracket.next_replicas(most_gpus) is not None:
        dearer = "more are dearer than what is enough (--all tries them)"
        return f"{_replicas(fewer)}: {bracket.broke}; {dearer}" if fewer else dearer
    return f"{fewer * width} GPUs (--most-gpus {most_gpus}) are not enough: {bracket.broke}"


def _with_hint(bracket: Bracket) -> str:
    """Why it cannot be run; where a shorter context length would do for all requests, that one."""
    said = bracket.error.partition("\n")[0]
    if "max_model_len" not in said:
        return said
    scenario = bracket.kind
    try:
        table = scenario.workload.table(scenario.seed, Path(scenario.base_dir))
        longest = int((table.prompt_tokens + table.output_tokens).max())
        engine = scenario.engine.model_copy(update={"max_model_len": longest})
        resolve_cluster(scenario.model_copy(update={"engine": engine}))
    except ServecastError:
        return said
    return f"{said.partition(';')[0]}; the longest request has {longest}: --set engine.max_model_len={longest}"


def _replicas(count: int) -> str:
    return f"{count} replica{'s' * (count != 1)}" if count else ""


def _order(one: Size) -> tuple[bool, float, int]:
    return not one.carries, inf if one.usd_per_hour is None else one.usd_per_hour, one.gpus


def _pools(scenario: Scenario, judge: Judge, most_gpus: int) -> Size:
    found = size_pools(scenario, judge, most_gpus)
    return Size(
        found.profiles, 0, sum(found.counts.values()), found.gpus, found.usd_per_hour, found.why, found.values,
        found.counts, found.summary,
    )  # fmt: skip


def _with_prices(scenario: Scenario, prices: Mapping[str, float]) -> Scenario:
    """The scenario whose pools cost that."""
    given = scenario.cluster
    pools = {
        name: pool.model_copy(update={"gpu_price_per_hour": prices[pool.gpu or given.gpu]})
        if (pool.gpu or given.gpu) in prices
        else pool
        for name, pool in given.pools.items()
    }
    return scenario.model_copy(update={"cluster": given.model_copy(update={"pools": pools})})
