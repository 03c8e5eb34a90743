"""A scenario's metrics now against a baseline: which have become worse, by more than chance explains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isclose, sqrt
from pathlib import Path
from typing import Any, Literal

from sim.document import Overrides
from sim.errors import ServecastError
from sim.insight.check.baseline import Baseline, read
from sim.insight.comparison import METRICS, metrics_of, variants_of
from sim.insight.runs import run_groups
from sim.metrics.numbers import json_ready
from sim.scenario import Scenario, load

Outcome = Literal["same", "tie", "better", "worse", "changed", "missing", "new"]

TOLERANCE = 0.01
"""A metric may become worse by so large a share of itself, whatever the seeds say."""
_SURE_PAIRED, _SURE_APART = 0.99, 0.999
"""How sure a difference must be, with the same seeds and with others: some dozens of metrics are looked at."""


_SAME = 1e-9
"""Values that lie so close together, as a share of them, are one value: other machines may round otherwise."""


@dataclass(frozen=True)
class Verdict:
    """One metric of one variant, its means over the seeds then and now, and how far it may move.

    `same`: the same value with every seed. `tie`: within the tolerance, or within what chance explains. `missing`: it
    was in the baseline and is undefined now, or its variant is gone or fails; `new`: the other way round.
    """

    variant: str
    metric: str
    before: float | None
    now: float | None
    allowed: float
    outcome: Outcome
    why: str = ""

    @property
    def change(self) -> float | None:
        """now / before - 1; None where that has no meaning."""
        if self.before is None or self.now is None or not self.before:
            return None
        return self.now / self.before - 1


@dataclass(frozen=True)
class Check:
    """All verdicts. `strict` fails on whatever is not the same."""

    scenario: str
    baseline: Baseline
    now: Baseline
    verdicts: tuple[Verdict, ...]
    strict: bool = False

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from sim.insight.cards import report_card
        from sim.insight.check.reports import check_report

        return report_card(check_report(self))

    @property
    def failures(self) -> list[Verdict]:
        """The verdicts that fail the check."""
        return [verdict for verdict in self.verdicts if self.fails(verdict)]

    @property
    def passed(self) -> bool:
        """Whether nothing fails."""
        return not self.failures

    def fails(self, verdict: Verdict) -> bool:
        """Whether a verdict is one that fails."""
        return verdict.outcome != "same" if self.strict else verdict.outcome in ("worse", "missing")


def check(
    source: Scenario | str | Path | Mapping[str, Any],
    baseline: str | Path | Baseline,
    *,
    tolerance: float = TOLERANCE,
    strict: bool = False,
    metrics: Iterable[str] = (),
    overrides: Overrides = (),
    seeds: Sequence[int] | None = None,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Check:
    """Run a scenario and its variants with the baseline's seeds (or others), and judge every metric.

    A metric fails when it has become worse by more than `tolerance`, a share of its value, and by more than chance
    explains: with the same seeds the differences are paired (all worse, or Student's t), with others the two means
    are compared (Welch's t). Metrics for which neither direction is worse, such as the mean batch, are told and fail
    only `strict`. `metrics` looks at some alone. Raises ServecastError for a baseline that cannot be read or is of
    another scenario, and whatever `load` raises.
    """
    before = baseline if isinstance(baseline, Baseline) else read(baseline)
    scenario = load(source, overrides)
    if before.scenario != scenario.name:
        raise ServecastError(
            f"the baseline is of the scenario {before.scenario!r}, not of {scenario.name!r}; name the right one, or "
            "write it anew with --update"
        )
    asked = tuple(seeds) if seeds is not None else before.seeds
    now, failed = measure(scenario, asked, jobs=jobs, progress=progress)
    wanted = list(metrics) or list(METRICS)
    if unknown := [name for name in wanted if name not in METRICS]:
        raise ServecastError(f"--metric: there is no metric {unknown[0]!r}; there are {', '.join(METRICS)}")
    variants = [*before.values, *(name for name in now.values if name not in before.values)]
    verdicts = [
        _verdict(before, now, variant, metric, tolerance, failed.get(variant, ""))
        for variant in variants
        for metric in wanted
    ]
    return Check(scenario.name, before, now, tuple(one for one in verdicts if one is not None), strict)


def measure(
    scenario: Scenario,
    seeds: Sequence[int],
    *,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Baseline, dict[str, str]]:
    """What a scenario and its variants come to with these seeds, and why some variants failed.

    Raises ServecastError if all of them fail.
    """
    named = variants_of(scenario)
    groups = [[one.model_copy(update={"seed": seed}) for seed in seeds] for one in named.values()]
    values: dict[str, dict[str, list[float | None]]] = {}
    failed: dict[str, str] = {}
    made_with: dict[str, Any] = {}
    for name, mine in zip(named, run_groups(groups, jobs, progress), strict=True):
        if errors := [outcome.error for outcome in mine if outcome.error]:
            failed[name] = errors[0]
            continue
        summaries = [outcome.summary for outcome in mine if outcome.summary is not None]
        made_with = made_with or {key: value for key, value in summaries[0]["made_with"].items() if key != "seed"}
        each = [json_ready(metrics_of(summary)) for summary in summaries]
        values[name] = {metric: [one[metric] for one in each] for metric in METRICS}
    if not values:
        raise ServecastError(f"every variant failed, the first because: {next(iter(failed.values()))}")
    return Baseline(scenario.name, tuple(seeds), made_with, values), failed


def _verdict(
    before: Baseline, now: Baseline, variant: str, metric: str, tolerance: float, error: str
) -> Verdict | None:
    olds, news = (one.values.get(variant, {}).get(metric, []) for one in (before, now))
    old, new = _numbers(olds), _numbers(news)
    if old is None and new is None:
        return None
    if old is None:
        return Verdict(variant, metric, None, _mean(new or []), inf, "new")
    if new is None:
        return Verdict(variant, metric, _mean(old), None, 0.0, "missing", error)
    if before.seeds == now.seeds and all(isclose(a, b, rel_tol=_SAME) for a, b in zip(old, new, strict=True)):
        return Verdict(variant, metric, _mean(old), _mean(new), 0.0, "same")
    first, second = _mean(old), _mean(new)
    paired = before.seeds == now.seeds
    chance = _paired(old, new) if paired else _welch(old, new)
    allowed = max(tolerance * abs(first), chance)
    more_is_better = METRICS[metric].more_is_better
    moved = second - first
    outcome: Outcome = "tie"
    if abs(moved) > allowed:
        outcome = "changed" if more_is_better is None else "better" if (moved > 0) == more_is_better else "worse"
    return Verdict(variant, metric, first, second, allowed, outcome)


def _numbers(values: Sequence[float | None]) -> list[float] | None:
    """The values, if there is one for every seed."""
    known = [value for value in values if value is not None]
    return known if values and len(known) == len(values) else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    mean = _mean(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _paired(old: Sequence[float], new: Sequence[float]) -> float:
    """How far the mean of the differences may lie from 0 by chance.

    Not at all where all differences point the same way: the requests are the same, so it is the code that differs.
    """
    changes = [b - a for a, b in zip(old, new, strict=True)]
    if all(change > 0 for change in changes) or all(change < 0 for change in changes):
        return 0.0
    from scipy.stats import t

    spread = _variance(changes)
    return float(t.ppf(_SURE_PAIRED, len(old) - 1)) * sqrt(spread / len(old))


def _welch(old: Sequence[float], new: Sequence[float]) -> float:
    """How far two means of other seeds may lie apart by chance. Raises ServecastError with fewer than two seeds."""
    if len(old) < 2 or len(new) < 2:
        raise ServecastError("other seeds than the baseline's tell nothing of one alone; give two or more to both")
    from scipy.stats import t

    a, b = _variance(old) / len(old), _variance(new) / len(new)
    if a + b == 0.0:
        return 0.0
    freedom = (a + b) ** 2 / (a**2 / (len(old) - 1) + b**2 / (len(new) - 1))
    return float(t.ppf(_SURE_APART, freedom)) * sqrt(a + b)
