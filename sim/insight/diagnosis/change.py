"""A change to a scenario, and what it came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import yaml

from sim.insight.comparison import metrics_of
from sim.scenario import Scenario

BATCHING = "batching"
IDLE = "idle GPUs"
KV_MEMORY = "KV memory"
LATENCY = "throughput against latency"
SCHEDULING = "request scheduling"
SINGLE_NODE = "single-node limits"
ENGINE = "engine"

BOTTLENECKS = (BATCHING, IDLE, KV_MEMORY, LATENCY, SCHEDULING, SINGLE_NODE, ENGINE)


@dataclass(frozen=True)
class Change:
    """What to write differently, and for which bottleneck; `buys` more or other GPUs."""

    label: str
    bottleneck: str
    keys: Mapping[str, Any]
    buys: bool = False

    def yaml(self) -> str:
        """The change as lines that can be pasted into the scenario."""
        return yaml.safe_dump(dict(self.keys), sort_keys=False, default_flow_style=True, width=1000).strip()[1:-1]

    def touches(self) -> set[str]:
        """The keys that it sets, in dotted form; two changes that share one cannot go together."""
        return set(_dotted(self.keys))


def apply(scenario: Scenario, changes: Sequence[Change]) -> Scenario:
    """The scenario with these changes, one over the other; raises ScenarioError where they cannot be."""
    plain = scenario.model_copy(update={"variants": {}})
    for change in changes:
        named = plain.model_copy(update={"variants": {change.label: dict(change.keys)}})
        plain = named.variant(change.label).model_copy(update={"name": scenario.name})
    return plain


@dataclass(frozen=True)
class Score:
    """What counts of a run: means over the seeds."""

    goodput: float
    """Requests per second that meet every target."""
    attainment: float
    """Share of the requests that do."""
    per_usd: float | None
    """Good requests for a dollar, None without a price."""
    usd_per_hour: float | None
    p99_ttft_ms: float
    p99_tpot_ms: float
    saturated: bool

    def better_value_than(self, other: Score) -> bool:
        """More good requests for the money, or, without prices, more of them."""
        return self.value > other.value

    @property
    def value(self) -> float:
        """What is to be had for a dollar, or, without prices, at all."""
        return self.goodput if self.per_usd is None else self.per_usd


def score(summaries: Sequence[Mapping[str, Any]]) -> Score:
    """The score of one scenario's runs."""
    each = [metrics_of(summary) for summary in summaries]

    def mean(name: str) -> float:
        return sum(one[name] for one in each) / len(each)

    priced = all(summary["cost_usd"] is not None for summary in summaries)
    hours = sum(summary["makespan_s"] for summary in summaries) / 3600
    return Score(
        goodput=mean("request_goodput"),
        attainment=mean("slo_attainment"),
        per_usd=mean("goodput_per_usd") if priced else None,
        usd_per_hour=sum(summary["cost_usd"] for summary in summaries) / hours if priced and hours else None,
        p99_ttft_ms=mean("p99_ttft_ms"),
        p99_tpot_ms=mean("p99_tpot_ms"),
        saturated=any(summary["saturated"] for summary in summaries),
    )


FAILED = Score(0.0, 0.0, None, None, inf, inf, True)
"""The score of a change that cannot be run."""


def _dotted(keys: Mapping[str, Any], above: str = "") -> list[str]:
    found = []
    for key, value in keys.items():
        # A choice, such as a router, is one value, whatever its parameters.
        if isinstance(value, Mapping) and above.count(".") < 1 and key in ("engine", "cluster", "pools"):
            found += _dotted(value, f"{above}{key}.")
        else:
            found.append(above + key)
    return found
