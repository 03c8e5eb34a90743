"""The same requests under several variants, over several seeds: what differs, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sim.choice import nearest
from sim.document import Overrides, repeatable
from sim.errors import ScenarioError, ServecastError, at_least_one
from sim.insight.difference import Difference, sureness
from sim.insight.identical import alike
from sim.insight.model_error import shake
from sim.insight.runs import Outcome, run_all
from sim.scenario import Scenario, load

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BASE = "as written"
"""What the scenario itself is called among its variants."""


class Metric(NamedTuple):
    """A figure of the summary that variants are compared by."""

    label: str
    kind: str
    """How it is written: rate, ms, percent, usd, number or count."""
    more_is_better: bool | None
    """None: neither is, it explains the others."""


METRICS: dict[str, Metric] = {
    "request_goodput": Metric("goodput/s", "rate", True),
    "goodput_per_usd": Metric("good requests per $", "number", True),
    "slo_attainment": Metric("meet the SLO", "percent", True),
    "request_throughput": Metric("requests/s", "rate", True),
    "output_throughput": Metric("output tokens/s", "rate", True),
    "mean_ttft_ms": Metric("TTFT mean", "ms", False),
    "p99_ttft_ms": Metric("TTFT p99", "ms", False),
    "mean_tpot_ms": Metric("TPOT mean", "ms", False),
    "p99_tpot_ms": Metric("TPOT p99", "ms", False),
    "p99_itl_ms": Metric("ITL p99", "ms", False),
    "mean_e2el_ms": Metric("E2E mean", "ms", False),
    "p99_e2el_ms": Metric("E2E p99", "ms", False),
    "mean_turn_ms": Metric("turn mean", "ms", False),
    "p99_turn_ms": Metric("turn p99", "ms", False),
    "mean_session_ms": Metric("session mean", "ms", False),
    "p99_session_ms": Metric("session p99", "ms", False),
    "prefix_cache_hit_rate": Metric("prefix hits", "percent", None),
    "usd_per_million_output_tokens": Metric("$/1M out", "usd", False),
    "preemptions": Metric("preemptions", "count", None),
    "batch_size_mean": Metric("batch", "number", None),
    "kv_occupancy_mean": Metric("KV cache", "percent", None),
    "queue_depth_mean": Metric("queue", "number", None),
}


@dataclass(frozen=True)
class Comparison:
    """Runs by (variant, seed), and what they say. `failed` holds the variants that could not run, and why."""

    name: str
    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    summaries: Mapping[tuple[str, int], dict[str, Any]]
    failed: Mapping[str, str]
    notes: tuple[str, ...]
    replications: int
    """Seeds whose requests differ; 1 if all replay the same."""
    shaken: Mapping[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    """The same runs with step times that are wrong, as the profiles' may be; empty where that was not asked."""
    identical: Mapping[str, str] = field(default_factory=dict)
    """Variants that come to the same configuration as one before them, and which."""
    quantiles: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)
    """Latencies as curves, by variant, of the first seed (see sim.metrics.latency.latency_quantiles)."""

    def __repr__(self) -> str:
        named = ", ".join(self.variants)
        return f"<Comparison of {self.name!r}: {named}; {len(self.seeds)} seed{'s' * (len(self.seeds) != 1)}>"

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from sim.insight.cards import comparison_card

        return comparison_card(self)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per variant, one column per metric: the mean over the seeds, NaN where undefined."""
        import pandas as pd

        rows = {variant: self._means(variant) for variant in self.variants}
        return pd.DataFrame.from_dict(rows, orient="index", columns=list(METRICS)).rename_axis("variant")

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per variant and seed, one column per metric."""
        import pandas as pd

        rows = [
            {"variant": variant, "seed": seed, **metrics_of(summary)}
            for (variant, seed), summary in self.summaries.items()
        ]
        return pd.DataFrame(rows)

    @cached_property
    def differences(self) -> list[Difference]:
        """Every variant but the first, against the first, in every metric that both have."""
        first, *others = self.variants
        found = (self._difference(first, other, metric) for other in others for metric in METRICS)
        return [difference for difference in found if difference is not None]

    def gpu_time(self, variant: str) -> dict[str, float]:
        """Share of the GPU time in each bucket, the mean over the seeds."""
        parts = [self.summaries[variant, seed]["gpu_time"]["fraction"] for seed in self.seeds]
        return {name: sum(part[name] or 0.0 for part in parts) / len(parts) for name in parts[0]}

    def saturated(self, variant: str) -> bool:
        """Whether the queue of any of its runs was still growing at the end."""
        return any(self.summaries[variant, seed]["saturated"] for seed in self.seeds)

    def summary(self) -> dict[str, Any]:
        """Everything in one JSON-ready dictionary, the same bytes for the same comparison."""
        return {
            "name": self.name,
            "seeds": list(self.seeds),
            "replications": self.replications,
            "variants": {
                variant: {
                    "metrics": {k: v if isfinite(v) else None for k, v in self._means(variant).items()},
                    "saturated": self.saturated(variant),
                    "gpu_time": self.gpu_time(variant),
                    "validity": self.summaries[variant, self.seeds[0]]["validity"],
                    "warnings": self.summaries[variant, self.seeds[0]]["warnings"],
                    "slo": self.summaries[variant, self.seeds[0]]["slo"],
                    "quantiles_ms": self.quantiles.get(variant, {}),
                }
                for variant in self.variants
            },
            "differences": [vars(difference) for difference in self.differences],
            "identical": dict(self.identical),
            "failed": dict(self.failed),
            "notes": list(self.notes),
            "made_with": self.summaries[self.variants[0], self.seeds[0]]["made_with"],
        }

    def plot(self, path: str | Path | None = None) -> Figure:
        """The picture: one row per variant; with `path` also written there as PNG."""
        from sim.insight.comparison_picture import picture
        from sim.report.save import drawn

        return drawn(picture(self), path)

    def plot_metric(self, metric: str = "request_goodput", ax: Axes | None = None) -> Axes:
        """One metric of every variant (a column of `table`); with several seeds, from the lowest to the highest.

        Raises ServecastError for a metric that is not there.
        """
        from sim.insight.comparison_table import written
        from sim.report.bars import bars

        if metric not in METRICS:
            raise ServecastError(f"there is no metric {metric!r} to draw{nearest(metric, METRICS)}")
        means = self.table[metric].dropna()
        of_seeds = self.runs.groupby("variant")[metric]
        lows, highs = of_seeds.min(), of_seeds.max()
        ends = [(float(lows[name]), float(highs[name])) for name in means.index]
        told = [written(metric, value) for value in means]
        errors = ends if len(self.seeds) > 1 else None
        return bars(METRICS[metric].label, list(means.index), [float(value) for value in means], told, ax, errors)

    def save(self, folder: str | Path) -> Path:
        """Write comparison.json, runs.csv and comparison.png into `folder`: all of them, or none."""
        from sim.report.folder import whole
        from sim.report.save import save_png, summary_json

        with whole(Path(folder), "compare") as draft:
            (draft / "comparison.json").write_text(summary_json(self.summary()), encoding="utf-8")
            self.runs.to_csv(draft / "runs.csv", index=False)
            save_png(self.plot(), draft / "comparison.png")
        return Path(folder)

    def _means(self, variant: str) -> dict[str, float]:
        each = [metrics_of(self.summaries[variant, seed]) for seed in self.seeds]
        return {name: sum(one[name] for one in each) / len(each) for name in METRICS}

    def _difference(self, first: str, other: str, metric: str) -> Difference | None:
        ones = [metrics_of(self.summaries[first, seed])[metric] for seed in self.seeds]
        others = [metrics_of(self.summaries[other, seed])[metric] for seed in self.seeds]
        if not all(isfinite(value) for value in (*ones, *others)):
            return None
        changes = [b - a for a, b in zip(ones, others, strict=True)]
        count = len(changes)
        known = (sum(ones) / count, sum(others) / count, sum(changes) / count)
        moved = self._moved(first, other, metric, changes)
        if self.replications < 2 and not moved:
            return Difference(other, metric, *known)
        low, high, better, doubt = sureness(changes, moved, METRICS[metric].more_is_better)
        return Difference(other, metric, *known, low, high, better, doubt)

    def _moved(self, first: str, other: str, metric: str, changes: Sequence[float]) -> list[float]:
        """By how much each change moves with wrong step times; nothing where no such run was made."""
        moved = []
        for seed, change in zip(self.seeds, changes, strict=True):
            if (first, seed) not in self.shaken or (other, seed) not in self.shaken:
                return []
            one, two = (metrics_of(self.shaken[variant, seed])[metric] for variant in (first, other))
            if not isfinite(two - one):
                return []
            moved.append(two - one - change)
        return moved


def compare(
    *sources: Scenario | str | Path | Mapping[str, Any],
    variants: str | Sequence[str] | None = None,
    seeds: int = 1,
    overrides: Overrides = (),
    model_error: bool = True,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Run one scenario and its variants, or several scenarios, each with `seeds` seeds.

    The seeds are the scenario's own and those that follow it; variants of one seed see the same requests, unless
    they change the workload. `variants` picks some by name. With `model_error` and two seeds or more every run is made
    a second time with step times that are wrong by what the profile may be wrong, the same for all variants on one
    GPU, so that a difference within the model's own error is a tie. A variant that fails is left out and said in
    `failed`.
    Raises ScenarioError if there are not two things to compare, or if all fail, and whatever `load` raises.
    """
    at_least_one(seeds=seeds, jobs=jobs)
    overrides = repeatable(overrides)
    loaded = [load(source, overrides) for source in sources]
    named = _named(loaded, variants)
    numbers = tuple(range(seeds))
    asked = [(name, number) for name in named for number in numbers]
    scenarios = [named[name].model_copy(update={"seed": named[name].seed + number}) for name, number in asked]
    shaken: dict[tuple[str, int], Scenario] = {}
    if model_error and seeds >= 2:
        pairs = ((key, shake(scenario, key[1])) for key, scenario in zip(asked, scenarios, strict=True))
        shaken = {key: scenario for key, scenario in pairs if scenario is not None}
    done = run_all([*scenarios, *shaken.values()], jobs, progress)
    outcomes = dict(zip(asked, done[: len(asked)], strict=True))
    second = dict(zip(shaken, done[len(asked) :], strict=True))
    failed = {name: error for name in named if (error := _error(name, numbers, outcomes))}
    ran = [name for name in named if name not in failed]
    if not ran:
        raise ScenarioError(f"every variant failed, the first because: {next(iter(failed.values()))}")
    first_seed = next(iter(named.values())).seed
    replications = len({outcomes[ran[0], number].requests for number in numbers})
    return Comparison(
        name=next(iter(named.values())).name,
        variants=tuple(ran),
        seeds=tuple(first_seed + number for number in numbers),
        summaries={(name, first_seed + number): _known(outcomes[name, number]) for name in ran for number in numbers},
        failed=failed,
        notes=(
            *_left_out(loaded),
            *_replaced(loaded, ran),
            *_notes(ran, numbers, outcomes, replications, bool(second)),
        ),
        replications=replications,
        shaken={
            (name, first_seed + number): outcome.summary
            for (name, number), outcome in second.items()
            if outcome.summary is not None
        },
        identical=alike({name: named[name] for name in ran}),
        quantiles={name: outcomes[name, 0].quantiles for name in ran},
    )


def metrics_of(summary: Mapping[str, Any]) -> dict[str, float]:
    """The compared metrics of one run's summary; NaN where it has none."""
    attainment, dollars = (summary["slo_attainment"] or {}).get("all"), summary["cost_usd"]
    good = None if attainment is None else attainment * summary["num_prompts"]
    found = {**summary, "slo_attainment": attainment}
    found |= {
        name: (summary["sessions"] or {}).get(name) for name in METRICS if name.endswith(("_turn_ms", "_session_ms"))
    }
    found["goodput_per_usd"] = good / dollars if good is not None and dollars else None
    return {name: float("nan") if found[name] is None else float(found[name]) for name in METRICS}


def variants_of(scenario: Scenario, picked: str | Sequence[str] | None = None) -> dict[str, Scenario]:
    """The scenario as written, then its variants, or those picked by name. Raises ScenarioError for an unknown one."""
    picked = [picked] if isinstance(picked, str) else picked
    wanted = [name for name in (scenario.variants if picked is None else picked) if name != BASE]
    return {BASE: scenario.model_copy(update={"variants": {}})} | {name: scenario.variant(name) for name in wanted}


def _named(loaded: Sequence[Scenario], picked: str | Sequence[str] | None) -> dict[str, Scenario]:
    """The scenarios by what they are called in the comparison."""
    if len(loaded) == 1:
        named = variants_of(loaded[0], picked)
    elif picked is not None:
        raise ScenarioError("--variant picks among the variants of one file, and several files were given")
    else:
        named = {scenario.name: scenario.model_copy(update={"variants": {}}) for scenario in loaded}
        if len(named) < len(loaded):
            raise ScenarioError("two of the files give the same name; give each its own `name:`")
    if len(named) < 2:
        raise ScenarioError("nothing to compare: the scenario has no `variants:`; add some, or give another file")
    return named


def _error(name: str, numbers: Sequence[int], outcomes: Mapping[tuple[str, int], Outcome]) -> str:
    return next((outcomes[name, number].error for number in numbers if outcomes[name, number].error), "")


def _known(outcome: Outcome) -> dict[str, Any]:
    assert outcome.summary is not None
    return outcome.summary


def _left_out(loaded: Sequence[Scenario]) -> Iterable[str]:
    """Of several scenarios only the base is compared."""
    named = {one.name: ", ".join(one.variants) for one in loaded if one.variants and len(loaded) > 1}
    if named:
        told = "; ".join(f"{name}: {variants}" for name, variants in named.items())
        yield f"these are the base scenarios; their variants were not run: {told} (one scenario alone brings its own)"


def _replaced(loaded: Sequence[Scenario], ran: Sequence[str]) -> Iterable[str]:
    for name in ran if len(loaded) == 1 else ():
        if name != BASE and (keys := loaded[0].replaced(name)):
            yield f"the preset of {name!r} replaces the scenario's {', '.join(f'engine.{key}' for key in keys)}"


def _notes(
    ran: Sequence[str],
    numbers: Sequence[int],
    outcomes: Mapping[tuple[str, int], Outcome],
    replications: int,
    shaken: bool,
) -> Iterable[str]:
    other = [name for name in ran if outcomes[name, 0].requests != outcomes[ran[0], 0].requests]
    if other:
        yield f"not the same requests as under {ran[0]!r}: {', '.join(other)}"
    if replications < 2 and shaken:
        yield "every seed replays the same requests: how sure differences are is told by the model's error alone"
    elif replications < 2:
        why = "every seed replays the same requests" if len(numbers) > 1 else "one seed"
        yield f"{why}: differences are those of this one run, and nothing is said of how sure they are"
