"""A run as the result file of `vllm bench serve --save-result --save-detailed`.

Fields, their order and what they mean: vLLM, vllm/benchmarks/serve.py. What a simulation has not is left empty: `date`
is null, `generated_texts` are empty; `queue_times` (the client's own) are 0. Lists hold the measured requests, by
arrival: those that the statistics are about. A statistic of nothing is 0, as there.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import yaml

from sim.export.gaps import token_gaps
from sim.export.saved import SavedRun
from sim.metrics.context import Floats

_RATES = (
    "duration", "completed", "failed", "total_input_tokens", "total_output_tokens", "request_throughput",
    "request_goodput", "output_throughput", "total_token_throughput",
)  # fmt: skip
_STATISTICS = ("mean", "median", "std", "p50", "p90", "p95", "p99")
_DETAILS = ("input_lens", "output_lens", "start_times", "ttfts", "itls", "generated_texts", "errors")


def bench_result(run: SavedRun, *, detailed: bool = True) -> tuple[dict[str, Any], list[str]]:
    """The result as JSON-ready data, and what to say of it; without `detailed` as without vLLM's --save-detailed."""
    summary = run.summary
    result: dict[str, Any] = {
        "date": None, "endpoint_type": "servecast", "backend": "servecast", "label": run.name,
        "model_id": summary["model_id"], "tokenizer_id": summary["model_id"], "num_prompts": summary["num_prompts"],
        **_traffic(run), **{name: summary[name] for name in _RATES},
    }  # fmt: skip
    lists, guessed = _lists(run)
    result |= {name: values for name, values in lists.items() if detailed or name not in _DETAILS}
    finished = [row for row, tokens in enumerate(lists["output_lens"]) if tokens]
    result["max_output_tokens_per_s"] = _most_tokens_in_a_second(lists, finished)
    result |= {"max_concurrent_requests": summary["max_concurrent_requests"], "rtfx": 0.0}
    for name in ("ttft", "tpot", "itl", "e2el"):
        result |= {f"{statistic}_{name}_ms": summary[f"{statistic}_{name}_ms"] or 0.0 for statistic in _STATISTICS}
    if finished and not guessed:
        result |= _statistics_of_gaps(np.concatenate([lists["itls"][row] for row in finished]))
    return result, list(_notes(lists, guessed, len(finished)))


def _notes(lists: dict[str, list[Any]], guessed: int, finished: int) -> Iterator[str]:
    count = len(lists["errors"])
    if guessed:
        told = f"{guessed:,} of {count:,} requests got several tokens in a step: their itls are equal gaps"
        yield f"{told}; the statistics of ITL are of the real ones, from a histogram with bins 0.2% wide"
    if finished < count:
        yield (
            f"{count - finished:,} of {count:,} requests did not finish: vLLM's file does not say when their clients "
            "left, and whoever replays it serves them whole"
        )


def _statistics_of_gaps(gaps_s: Floats) -> dict[str, float]:
    """As vLLM computes them: over every gap of the finished requests."""
    if not gaps_s.size:
        return {}
    found = {"mean": gaps_s.mean(), "median": np.median(gaps_s), "std": gaps_s.std()}
    found |= {name: np.percentile(gaps_s, int(name[1:])) for name in _STATISTICS if name not in found}
    return {f"{name}_itl_ms": float(value) * 1e3 for name, value in found.items()}


def _most_tokens_in_a_second(lists: dict[str, list[Any]], finished: list[int]) -> float:
    """The most tokens of finished requests in one whole second after the first of them was sent."""
    if not finished:
        return 0.0
    begin = min(lists["start_times"][row] for row in finished)
    times = np.concatenate(
        [
            np.cumsum([lists["start_times"][row] - begin, lists["ttfts"][row], *lists["itls"][row]])[1:]
            for row in finished
        ]
    )
    _, counts = np.unique(times.astype(np.int64), return_counts=True)
    return float(counts.max())


def _lists(run: SavedRun) -> tuple[dict[str, list[Any]], int]:
    """The lists, and how many requests' gaps are guessed."""
    rows = run.requests[run.requests["measured"]]
    finished = (rows["status"] == "finished").to_numpy()
    gaps, guessed = token_gaps(rows, run.steps, run.pauses)
    count = len(rows)
    lists = {
        "input_lens": rows["prompt_tokens"].tolist(),
        "output_lens": np.where(finished, rows["generated_tokens"], 0).tolist(),
        "ttfts": _seconds(rows["ttft_s"].fillna(0.0)),
        "itls": [_seconds(one) for one in gaps],
        "latencies": _seconds(rows["e2e_s"].where(finished, 0.0)),
        "start_times": _seconds(rows["arrival_s"]),
        "queue_times": [0.0] * count,
        "generated_texts": [""] * count,
        "errors": ["" if status == "finished" else str(status).replace("_", " ") for status in rows["status"]],
    }
    return lists, guessed


def _traffic(run: SavedRun) -> dict[str, Any]:
    """How requests were sent, in vLLM's terms; of a trace, the rate that it came to."""
    arrivals = (yaml.safe_load(run.scenario).get("workload") or {}).get("arrivals")
    name, options = next(iter(arrivals.items())) if isinstance(arrivals, Mapping) else (arrivals, {})
    options = options or {}
    rate: Any = options.get("rate_per_s")
    times = run.requests["arrival_s"]
    if name in ("all_at_once", "closed_loop"):
        rate = "inf"
    elif rate is None:
        span = float(times.max() - times.min()) if len(times) > 1 else 0.0
        rate = (len(times) - 1) / span if span else "inf"
    shape = {"poisson": 1.0, "gamma": 1 / options["cv"] ** 2 if name == "gamma" else None}.get(str(name))
    return {"request_rate": rate, "burstiness": shape, "max_concurrency": options.get("users")}


def _seconds(values: Any) -> list[float]:
    """To the nanosecond."""
    return [round(value, 9) for value in np.asarray(values, dtype=np.float64).tolist()]
