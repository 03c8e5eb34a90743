"""A run as the result file of `vllm bench serve --save-result --save-detailed`.

Fields and their order: vLLM, vllm/benchmarks/serve.py. What a simulation has not is left empty: `date` is null,
`generated_texts` are empty; `queue_times` (the client's own) are 0. Lists hold the measured requests, which are those
that the statistics are about, by arrival.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml

from sim.export.gaps import token_gaps
from sim.export.saved import SavedRun

_RATES = (
    "duration", "completed", "failed", "total_input_tokens", "total_output_tokens", "request_throughput",
    "request_goodput", "output_throughput", "total_token_throughput",
)  # fmt: skip
_STATISTICS = ("mean", "median", "std", "p50", "p90", "p95", "p99")


def bench_result(run: SavedRun, *, detailed: bool = True) -> tuple[dict[str, Any], list[str]]:
    """The result as JSON-ready data, and what to say of it; without `detailed` there are no lists of requests."""
    summary = run.summary
    result: dict[str, Any] = {
        "date": None, "endpoint_type": "servecast", "backend": "servecast", "label": run.name,
        "model_id": summary["model_id"], "tokenizer_id": summary["model_id"], "num_prompts": summary["num_prompts"],
        **_traffic(run), **{name: summary[name] for name in _RATES},
    }  # fmt: skip
    notes: list[str] = []
    if detailed:
        lists, notes = _lists(run)
        result |= lists
    result |= {name: summary[name] for name in ("max_output_tokens_per_s", "max_concurrent_requests")} | {"rtfx": 0.0}
    for name in ("ttft", "tpot", "itl", "e2el"):
        result |= {f"{statistic}_{name}_ms": summary[f"{statistic}_{name}_ms"] for statistic in _STATISTICS}
    return result, notes


def _lists(run: SavedRun) -> tuple[dict[str, list[Any]], list[str]]:
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
    if not guessed:
        return lists, []
    told = f"{guessed:,} of {count:,} requests got several tokens in a step: their itls are equal gaps"
    return lists, [f"{told}; the statistics of ITL are of the real ones, from a histogram with bins 0.2% wide"]


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
