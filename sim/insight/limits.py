"""What a run must meet: targets of the scenario and further limits on figures of the summary."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from sim.choice import nearest
from sim.errors import ScenarioError
from sim.insight.comparison import metrics_of
from sim.report.words import number, percent, tick
from sim.scenario import Scenario

_LIMIT = re.compile(r"\s*([a-z0-9_]+)\s*(<=|>=)\s*([0-9.eE+-]+)\s*")
_HOLDS = {"<=": operator.le, ">=": operator.ge}
_APART = 1.05
"""Mean batch of requests that are alone, but for the few of a trace that come at one and the same time."""
_LATENCIES = ("ttft", "tpot", "itl", "e2el")


class Limit(NamedTuple):
    """A figure of the summary, and what it must not exceed or fall below."""

    metric: str
    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric} {self.sign} {self.bound:g}"

    def holds(self, value: float) -> bool:
        """Whether a value meets the limit; an undefined one does not."""
        return isfinite(value) and bool(_HOLDS[self.sign](value, self.bound))


def parse_limit(text: str) -> Limit:
    """ "p99_itl_ms <= 200" as a Limit. Raises ScenarioError for anything else."""
    found = _LIMIT.fullmatch(text)
    if not found:
        raise ScenarioError(f"--limit {text!r} is not like 'p99_itl_ms <= 200': a figure of summary.json, <= or >=")
    try:
        return Limit(found[1], found[2], float(found[3]))
    except ValueError:
        raise ScenarioError(f"--limit {text!r}: {found[3]!r} is not a number") from None


def parse_limits(texts: str | Iterable[str]) -> list[Limit]:
    """One limit or several, as `parse_limit` reads them."""
    return [parse_limit(text) for text in ([texts] if isinstance(texts, str) else texts)]


def what_must_hold(attainment: float, limits: Iterable[str]) -> str:
    """The limits in words, as `broken_limit` applies them."""
    asked = [f"slo_attainment >= {attainment:g}", *limits]
    return f"what must hold: {', '.join(asked)}, and the queue must not grow without end"


def check_limited(scenario: Scenario, limits: Sequence[Limit], attainment: float) -> None:
    """Raise ScenarioError unless there is something to meet."""
    if not limits and not scenario.has_targets:
        raise ScenarioError(
            f"{scenario.name}: nothing says what must be met; give slo: in the scenario, --slo ttft=1s, or --limit"
        )
    if not 0 < attainment <= 1:
        raise ScenarioError(f"--attainment must be a share of requests, above 0 and at most 1, not {attainment:g}")


def broken_limit(
    summaries: Sequence[Mapping[str, Any]], limits: Sequence[Limit], attainment: float
) -> tuple[str, dict[str, float]]:
    """The first limit that the means over the seeds break, "" if none, and the means.

    That share of requests must meet the scenario's slo, if it has one; and the queue must not grow without end in
    most of the runs.
    """
    if summaries[0]["slo_attainment"]:
        limits = [Limit("slo_attainment", ">=", attainment), *limits]
    figures = [{**summary, **metrics_of(summary)} for summary in summaries]
    values = {limit.metric: sum(_figure(one, limit.metric) for one in figures) / len(figures) for limit in limits}
    broken = [str(limit) for limit in limits if not limit.holds(values[limit.metric])]
    if sum(summary["saturated"] for summary in summaries) * 2 > len(summaries):
        broken.append("the queue grows without end")
    return (broken[0] if broken else ""), values


def hardly_meet(summary: Mapping[str, Any]) -> bool:
    """Whether the requests of a run were served one at a time, so that less load would change nothing."""
    return (summary["batch_size_mean"] or 0.0) < _APART


def missed_alone(summary: Mapping[str, Any], limits: Sequence[Limit], attainment: float) -> str:
    """Which target a run at next to no load misses, in words; "" if none."""
    alone = hardly_meet(summary)
    met = summary["slo_attainment"] or {}
    if met and met["all"] is not None and met["all"] < attainment:
        name, share = min(((key, met[key]) for key in _LATENCIES if met.get(key) is not None), key=lambda one: one[1])
        target = (summary["slo"] or {}).get(f"{name}_ms")
        asked = f"{name} <= {tick(target / 1e3, seconds=True)}" if target is not None else f"its {name} target"
        if not share:
            return f"even one request alone misses {asked}"
        if share >= attainment:
            asked, share = "all targets", met["all"]
        return f"{'even served alone' if alone else 'even at next to no load'}, only {percent(share)} meet {asked}"
    for limit in limits:
        value = summary.get(limit.metric)
        latency = limit.sign == "<=" and limit.metric.endswith(tuple(f"_{name}_ms" for name in _LATENCIES))
        if latency and value is not None and not limit.holds(value):
            how = "even served alone, requests break" if alone else "even next to no load breaks"
            return f"{how} {limit} ({number(value)})"
    return ""


def _figure(summary: Mapping[str, Any], name: str) -> float:
    if name not in summary:
        raise ScenarioError(f"--limit: the summary has no figure {name!r}{nearest(name, summary)}")
    value = summary[name]
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ScenarioError(f"--limit: {name!r} is not a number in the summary")
    return float(value)
