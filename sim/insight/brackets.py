"""Kinds of replicas, and between which two numbers lies the fewest that are enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from sim.insight.alone import served_alone
from sim.insight.judge import Judge, Verdict
from sim.insight.limits import missed_alone
from sim.resolve.naming import gpu_profile
from sim.scenario import Scenario

_HOPES = 3
"""Numbers of replicas that fail before it is asked whether one request alone would do."""
_ALONE = 0
"""In place of a number of replicas: one, and requests that do not meet."""


@dataclass
class Bracket:
    """One kind of replica: how many are too few, how many are enough, and what is known of both.

    `finish` is whether to look on where more are dearer than another kind; `alone` is what one request alone misses,
    None where that was not asked.
    """

    kind: Scenario
    gpu: str
    tensor_parallel: int
    finish: bool = False
    fewer: int = 0
    enough: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    broke: str = ""
    error: str = ""
    failures: int = 0
    alone: str | None = None

    def scenario(self, replicas: int) -> Scenario:
        """The scenario with so many."""
        return self.kind.model_copy(update={"cluster": self.kind.cluster.model_copy(update={"replicas": replicas})})

    def next_replicas(self, most_gpus: int, most_usd: float = inf) -> int | None:
        """How many to try; None if it is known, or nothing affordable is left."""
        if self.error or self.alone:
            return None
        asked = 2 * self.fewer or 1 if self.enough is None else (self.fewer + self.enough) // 2
        if asked == self.fewer:
            return None
        if self.enough is None:
            most = most_gpus // self.tensor_parallel
            if self.price and most_usd < inf:
                most = min(most, int(most_usd / (self.price * self.tensor_parallel) + 1e-9))
            if self.fewer >= most:
                return None
            asked = min(asked, most)
        return asked

    def wonders(self, most_gpus: int) -> bool:
        """Whether it is time to ask if one request alone would meet the targets."""
        if self.alone is not None or self.error or self.enough is not None or not self.failures:
            return False
        return self.failures >= _HOPES or self.next_replicas(most_gpus) is None

    @property
    def price(self) -> float | None:
        """US dollars for one GPU and hour: the scenario's, or the profile's."""
        given = self.kind.cluster.gpu_price_per_hour
        return given if given is not None else gpu_profile(self.kind, self.gpu).price_usd_per_hour

    def usd(self, replicas: int | None) -> float:
        """What so many cost for an hour; infinity where that is not known."""
        price = None if self.error else self.price
        return inf if price is None or replicas is None else price * self.tensor_parallel * replicas

    def learn(self, replicas: int, found: Verdict) -> None:
        """Narrow it by what so many came to."""
        if found.error:
            self.error = found.error
        elif found.broke:
            self.fewer, self.broke = replicas, found.told
            self.failures += 1
            if self.enough is None:
                self.values = found.values
        else:
            self.enough, self.values, self.summary = replicas, found.values, found.summary


def cheapest(brackets: Sequence[Bracket]) -> float:
    """The least that is known to be enough costs in US dollars an hour."""
    return min((one.usd(one.enough) for one in brackets), default=inf)


def narrow(brackets: Sequence[Bracket], judge: Judge, most_gpus: int) -> None:
    """Try the next number of every bracket at once, until all are known or not worth knowing."""
    while True:
        least = cheapest(brackets)
        due: list[tuple[Bracket, int, Scenario]] = []
        for one in brackets:
            if one.wonders(most_gpus):
                scenario = served_alone(one.kind)
                if scenario is not None:
                    due.append((one, _ALONE, scenario))
                    continue
                one.alone = ""
            count = one.next_replicas(most_gpus, inf if one.finish else least)
            if count is not None:
                due.append((one, count, one.scenario(count)))
        if not due:
            return
        verdicts = judge.verdicts([scenario for _, _, scenario in due])
        for (one, count, _), found in zip(due, verdicts, strict=True):
            if count != _ALONE:
                one.learn(count, found)
            else:
                one.alone = "" if found.error else missed_alone(found.summary, judge.limits, judge.attainment)
