"""A run as vLLM's own metrics: what its /metrics would have said, at the end or over time.

Names, labels and buckets: vLLM 0.33.0, vllm/v1/metrics/loggers.py and buckets.py. Every replica is an `engine`. Text:
Prometheus' exposition format 0.0.4; over time OpenMetrics 1.0, which `promtool tsdb create-blocks-from openmetrics`
reads.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import yaml

from sim.export.gaps import each_step, step_ends, token_gaps
from sim.export.saved import SavedRun, began_on
from sim.metrics.context import Floats

_TTFT = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
)  # fmt: skip
_TOKEN = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
_REQUEST = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip
_TIMES = (1, 2, 3, 4, 5, 10, 20)
_ITERATION = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_REASONS = {
    "stop": ["finished"],
    "length": [],
    "abort": ["cancelled", "timed_out"],
    "error": ["failed"],
    "repetition": [],
}
"""Why vLLM says that a request ended, and what that is here: a whole answer ends by itself. What a client gives up is
counted, too; vLLM 0.33 has the series and leaves it at 0."""

Level = Callable[[float], float]
"""The value of a gauge at a time."""


@dataclass(frozen=True)
class Events:
    """What happened to one engine: when, how much, and how often."""

    times: Floats
    values: Floats
    counts: Floats

    def until(self, at_s: float) -> "Events":
        """Those that had happened by then."""
        keep = self.times <= at_s
        return Events(self.times[keep], self.values[keep], self.counts[keep])


@dataclass(frozen=True)
class Family:
    """One metric: its kind, and by labels a gauge's level or the events of a counter or histogram."""

    name: str
    kind: str
    help: str
    series: Sequence[tuple[dict[str, str], Any]]
    buckets: Sequence[float] = ()


def snapshot(run: SavedRun) -> str:
    """What /metrics says when the run has ended, as Prometheus text."""
    lines = []
    for family in families(run):
        name = f"{family.name}_total" if family.kind == "counter" else family.name
        lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
        lines += [f"{sample} {value}" for sample, value in _samples(family, math.inf)]
    return "\n".join([*lines, ""])


def series(run: SavedRun, epoch_s: float = 0.0) -> str:
    """All metrics at every time of the run's timeline, as OpenMetrics text; the run begins at `epoch_s` (Unix time)."""
    lines = []
    times = (run.timeline["time_s"] + run.timeline["width_s"]).tolist()
    if times:  # the last token may reach its client after the last step
        times[-1] = max(times[-1], run.summary["makespan_s"], float(run.requests["finish_s"].max()))
    for family in families(run):
        lines += [f"# TYPE {family.name} {family.kind}", f"# HELP {family.name} {family.help}"]
        for one in family.series:
            alone = Family(family.name, family.kind, family.help, [one], family.buckets)
            lines += [f"{sample} {value} {epoch_s + at:.3f}" for at in times for sample, value in _samples(alone, at)]
    return "\n".join([*lines, "# EOF", ""])


def families(run: SavedRun) -> Iterator[Family]:
    """Every metric of the run."""
    model = run.summary["model_id"]
    steps = {one: run.steps[run.steps["replica"] == one] for one in run.steps["replica"].unique().tolist()}
    seen = np.union1d(run.steps["replica"].unique(), run.requests["replica"].unique())
    engines = [int(replica) for replica in seen if replica >= 0]
    began = began_on(run.requests)
    rows = run.requests.assign(ended_s=run.requests["finish_s"].where(run.requests["status"] == "finished"))
    requests = {one: rows[rows["replica"] == one] for one in engines}
    began_there = {one: rows[began == one] for one in engines}
    steps |= {one: run.steps.iloc[:0] for one in engines if one not in steps}

    def each(
        make: Callable[[pd.DataFrame, pd.DataFrame], Any], begun: bool = False
    ) -> list[tuple[dict[str, str], Any]]:
        """What each engine's requests (those that ended there, or began there) and steps make."""
        mine = began_there if begun else requests
        return [({"model_name": model, "engine": str(one)}, make(mine[one], steps[one])) for one in engines]

    def timed(at: str, begin: str, end: str) -> Callable[[pd.DataFrame, pd.DataFrame], Events]:
        return lambda mine, _: _events(mine[at], mine[end] - mine[begin])

    def counted(at: str, what: str) -> Callable[[pd.DataFrame, pd.DataFrame], Events]:
        return lambda mine, _: _events(mine[at], mine[what])

    def gauge(name: str, told: str, make: Callable[[pd.DataFrame, pd.DataFrame], Level]) -> Family:
        return Family(f"vllm:{name}", "gauge", told, each(make))

    def counter(name: str, told: str, make: Callable[[pd.DataFrame, pd.DataFrame], Events]) -> Family:
        return Family(f"vllm:{name}", "counter", told, each(make))

    def histogram(
        name: str, told: str, buckets: Sequence[float], make: Callable[[pd.DataFrame, pd.DataFrame], Events]
    ) -> Family:
        return Family(f"vllm:{name}", "histogram", told, each(make), buckets)

    blocks = run.summary["kv_blocks_per_replica"]
    yield gauge("num_requests_running", "Number of requests in the running batch.", lambda _, s: _at(s, "running"))
    told = "Number of requests that wait."
    yield Family("vllm:num_requests_waiting", "gauge", told, each(_waiting, begun=True))
    if blocks:
        yield gauge(
            "kv_cache_usage_perc", "KV cache in use; 1 is all of it.", lambda _, s: _at(s, "kv_used_blocks", blocks)
        )
    prompts = {
        "prefix_cache_queries": ("Prompt tokens looked up.", "scheduled_s", "prompt_tokens"),
        "prefix_cache_hits": ("Prompt tokens found in the cache.", "scheduled_s", "cached_tokens"),
        "prompt_tokens": ("Prompt tokens computed or found.", "first_token_s", "prompt_tokens"),
        "prompt_tokens_cached": ("Prompt tokens found, of those.", "first_token_s", "cached_tokens"),
    }
    for name, (told, at, what) in prompts.items():
        yield Family(f"vllm:{name}", "counter", told, each(counted(at, what), begun=True))
    yield counter("num_preemptions", "Preemptions.", lambda _, s: _events(s["end_s"], s["preempted"]))
    yield counter("generation_tokens", "Tokens generated.", _generated)
    yield Family(
        "vllm:request_success", "counter", "Requests that ended, by reason.",
        [
            ({**labels, "finished_reason": reason}, _events(mine["finish_s"], np.ones(len(mine))))
            for labels, its in each(lambda mine, _: mine)
            for reason, states in _REASONS.items()
            for mine in (its[its["status"].isin(states)],)
        ],
    )  # fmt: skip
    first, last = "first_token_s", "ended_s"
    parts = {
        "time_to_first_token_seconds": ("Time to first token.", _TTFT, timed(first, "arrival_s", first)),
        "inter_token_latency_seconds": (
            "Time between tokens.",
            _TOKEN,
            lambda its, rows: _between_tokens(its, rows, run.pauses),
        ),
        "request_time_per_output_token_seconds": ("TPOT; 0 of one token.", _TOKEN, _tpot),
        "e2e_request_latency_seconds": ("E2E latency.", _REQUEST, timed(last, "arrival_s", last)),
        "request_queue_time_seconds": ("Time waiting.", _REQUEST, timed(last, "arrival_s", "scheduled_s")),
        "request_inference_time_seconds": ("Time running.", _REQUEST, timed(last, "scheduled_s", last)),
        "request_prefill_time_seconds": ("Time in prefill.", _REQUEST, timed(last, "scheduled_s", first)),
        "request_decode_time_seconds": ("Time in decode.", _REQUEST, timed(last, first, last)),
    }
    for name, (told, buckets, make) in parts.items():
        yield histogram(name, told, buckets, make)
    sizes = one_two_five(int(yaml.safe_load(run.scenario)["engine"].get("max_model_len") or 1_000_000))
    yield histogram("request_prompt_tokens", "Prompt tokens of a request.", sizes, counted(last, "prompt_tokens"))
    yield histogram("request_generation_tokens", "Tokens of an answer.", sizes, counted(last, "generated_tokens"))
    for name in ("request_max_num_generation_tokens", "request_params_max_tokens"):
        yield histogram(name, "Longest answer that a request may have.", sizes, counted(last, "output_tokens"))
    told = "Prompt tokens of a request that were computed."
    yield histogram(
        "request_prefill_kv_computed_tokens", told, sizes,
        lambda mine, _: _events(mine[last], mine["prompt_tokens"] - mine["cached_tokens"]),
    )  # fmt: skip
    yield histogram("request_num_preemptions", "Preemptions of a request.", _TIMES, counted(last, "preemptions"))
    told = "Prompt tokens that a step computed and tokens that it gave."
    yield histogram("iteration_tokens_total", told, _ITERATION, lambda _, s: _per_step(s))


def one_two_five(most: int) -> list[int]:
    """1, 2, 5, 10, ... up to `most`."""
    values = (digit * 10**power for power in range(12) for digit in (1, 2, 5))
    return [value for value in values if value <= most]


def _events(times: Any, values: Any, counts: Any = None) -> Events:
    times, values = np.asarray(times, np.float64), np.asarray(values, np.float64)
    counts = np.ones(len(times)) if counts is None else np.asarray(counts, np.float64)
    known = ~(np.isnan(times) | np.isnan(values))
    return Events(times[known], values[known], counts[known])


def _at(steps: pd.DataFrame, column: str, of: int = 1) -> Level:
    start, end, values = (steps[name].to_numpy() for name in ("start_s", "end_s", column))

    def level(at_s: float) -> float:
        row = int(np.searchsorted(start, at_s, "right")) - 1
        return float(values[row]) / of if row >= 0 and at_s < end[row] else 0.0

    return level


def _waiting(requests: pd.DataFrame, steps: pd.DataFrame) -> Level:
    """Here and in no step, preempted ones included; of those that are handed over, who has been in no step yet."""
    handed_over = "prefill_replica" in requests
    last = requests["finish_s"]
    arrival = np.sort(requests["arrival_s"][last.notna()])
    left = np.sort(requests["scheduled_s"].fillna(last).dropna() if handed_over else last.dropna())
    running = _at(steps.iloc[:0] if handed_over else steps, "running")

    def level(at_s: float) -> float:
        here = float(np.searchsorted(arrival, at_s, "right") - np.searchsorted(left, at_s, "right"))
        return max(here - running(at_s), 0.0)

    return level


def _generated(requests: pd.DataFrame, steps: pd.DataFrame) -> Events:
    """Tokens as their steps end; where steps sample other numbers (drafts), as requests finish."""
    total = int(requests["generated_tokens"].sum())
    if int((steps["sampled"] * steps["steps"]).sum()) != total:
        return _events(requests["finish_s"].fillna(math.inf), requests["generated_tokens"])
    return _events(step_ends(steps), each_step(steps, "sampled"))


def _between_tokens(requests: pd.DataFrame, steps: pd.DataFrame, pauses: pd.DataFrame) -> Events:
    rows = requests[requests["first_token_s"].notna()]
    gaps, _ = token_gaps(rows, steps, pauses)
    firsts, lasts = rows["first_token_s"].tolist(), rows["finish_s"].fillna(math.inf).tolist()
    # a sum of gaps may end a rounding after the last token
    times = [np.minimum(at + np.cumsum(one), last) for at, one, last in zip(firsts, gaps, lasts, strict=True)]
    return _events(np.concatenate([*times, np.empty(0)]), np.concatenate([*gaps, np.empty(0)]))


def _per_step(steps: pd.DataFrame) -> Events:
    return _events(steps["end_s"], steps["prefill_tokens"] + steps["sampled"], steps["steps"])


def _tpot(requests: pd.DataFrame, _: pd.DataFrame) -> Events:
    return _events(requests["ended_s"], requests["tpot_s"].where(requests["generated_tokens"] > 1, 0.0))


def _samples(family: Family, at_s: float) -> Iterator[tuple[str, str]]:
    """Each sample's name with labels, and its value."""
    for labels, one in family.series:
        if family.kind == "gauge":
            yield f"{family.name}{_labels(labels)}", _number(one(at_s))
            continue
        events = one.until(at_s)
        if family.kind == "counter":
            yield f"{family.name}_total{_labels(labels)}", _number(float((events.values * events.counts).sum()))
            continue
        below = np.searchsorted(np.asarray(family.buckets, np.float64), events.values, "left")
        found = np.cumsum(np.bincount(below, events.counts, len(family.buckets) + 1))
        for edge, count in zip([*family.buckets, math.inf], found.tolist(), strict=True):
            yield f"{family.name}_bucket{_labels(labels | {'le': _edge(edge)})}", _number(count)
        yield f"{family.name}_sum{_labels(labels)}", _number(float((events.values * events.counts).sum()))
        yield f"{family.name}_count{_labels(labels)}", _number(float(found[-1]))


def _labels(labels: dict[str, str]) -> str:
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for value in labels.values())
    return "{" + ",".join(f'{name}="{value}"' for name, value in zip(labels, quoted, strict=True)) + "}"


def _number(value: float) -> str:
    return repr(float(value))


def _edge(value: float) -> str:
    return "+Inf" if math.isinf(value) else repr(float(value))
