"""Throughput, goodput and concurrency over the measured requests, with `vllm bench serve`'s names."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.metrics.context import Columns, Floats, RunContext, Slo
from sim.metrics.latency import completed, given_up
from sim.metrics.numbers import ratio
from sim.metrics.series import RowIntegrator, entered, peak, sent_s


def throughput(requests: Columns, latencies: dict[str, Floats], context: RunContext) -> dict[str, Any]:
    """Counts and rates of measured requests over `duration` = first arrival to last end among them, failures included.

    `failed` counts the rejected, the refused, the cancelled, the timed out and those that a crash ended.
    `max_concurrent_requests` is vLLM's: the most finished requests that touch one whole second, counted from the first
    of their arrivals; `peak_concurrent_requests` is the most of them at one instant, which is no more.
    `request_goodput` and `slo_attainment` are None without an SLO.
    Source: vLLM, vllm/benchmarks/serve.py, `calculate_metrics` and the `benchmark_duration` that it gets.
    """
    measured = requests["measured"].astype(bool)
    done = completed(requests)
    arrival, finish = requests["arrival_s"], requests["finish_s"]
    ends = np.where(np.isnan(finish), sent_s(requests), finish)  # who is turned away is gone at once
    duration = float(ends[measured].max() - arrival[measured].min()) if measured.any() else 0.0
    inputs = int(requests["prompt_tokens"][done].sum())
    outputs = int(requests["generated_tokens"][done].sum())
    good, attainment = slo_attainment(requests, latencies, context)
    return {
        "num_prompts": int(measured.sum()),
        "duration": duration,
        "completed": int(done.sum()),
        "failed": int((measured & (~entered(requests) | given_up(requests))).sum()),
        "total_input_tokens": inputs,
        "total_output_tokens": outputs,
        "request_throughput": ratio(int(done.sum()), duration),
        "request_goodput": ratio(int(good.sum()), duration) if attainment else None,
        "output_throughput": ratio(outputs, duration),
        "total_token_throughput": ratio(inputs + outputs, duration),
        "max_concurrent_requests": _most_in_a_second(arrival[done], finish[done]),
        "peak_concurrent_requests": peak((arrival[done], 1), (finish[done], -1)),
        "slo": {f"{name}_ms": target * 1e3 for name, target in context.slo.targets().items()} or None,
        "slo_attainment": attainment,
    }


def _most_in_a_second(arrival: Floats, finish: Floats) -> int:
    """The most requests that touch one whole second after the first arrival."""
    if not arrival.size:
        return 0
    first, last = np.floor(arrival - arrival.min()), np.floor(finish - arrival.min())
    return peak((first, 1), (last + 1.0, -1))


def slo_attainment(
    requests: Columns, latencies: dict[str, Floats], context: RunContext
) -> tuple[NDArray[np.bool_], dict[str, float] | None]:
    """Mask of requests that meet every target, and the share that meets each and all of them.

    Shares are of the measured requests; one that did not finish meets nothing. A request of one
    output token counts as TPOT 0, as in vLLM. A tenant's own targets count for its requests. Without targets the
    share is None.
    """
    done = completed(requests)
    observed = {
        "ttft": latencies["ttft_s"],
        "tpot": np.where(requests["generated_tokens"] > 1, latencies["tpot_s"], 0.0),
        "e2el": latencies["e2e_s"],
    }
    targets = targets_of(requests, context)
    met = {name: done & (observed[name] <= target) for name, target in targets.items()}
    good: NDArray[np.bool_] = np.logical_and.reduce([done, *met.values()])
    if not targets:
        return good, None
    measured = int(requests["measured"].sum())
    return good, {name: ratio(int(mask.sum()), measured) for name, mask in (met | {"all": good}).items()}


def targets_of(requests: Columns, context: RunContext) -> dict[str, Floats]:
    """The targets of each request, in seconds, by vLLM's names; infinite where it has none that another has."""
    slos = [context.slo.under(context.tenant_slo.get(name, Slo())) for name in context.tenants or ("",)]
    named = [slo.targets() for slo in slos]
    known = [name for name in ("ttft", "tpot", "e2el") if any(name in targets for targets in named)]
    tenant = requests["tenant"]
    return {name: np.array([targets.get(name, math.inf) for targets in named])[tenant] for name in known}


def max_output_tokens_per_s(requests: Columns, steps: Columns) -> float:
    """Most output tokens in one whole second after the first measured arrival, of all requests together.

    Seconds are (k, k + 1]: a token on the stroke belongs to the second that ends.
    """
    done = completed(requests)
    if not done.any():
        return math.nan
    begin = float(requests["arrival_s"][requests["measured"].astype(bool)].min())
    edges = begin + _seconds_with_work(steps["start_s"] - begin, steps["end_s"] - begin)
    return float(np.rint(RowIntegrator(steps, edges).counts(steps["sampled"]).max()))


def _seconds_with_work(start_s: Floats, end_s: Floats) -> Floats:
    """Whole seconds that bound every second in which a row lies; a long idle time between takes no memory."""
    if not start_s.size:
        return np.arange(2.0)
    first = np.floor(start_s).astype(np.int64)
    last = np.ceil(end_s).astype(np.int64) + 1
    # Rows that follow each other within a second or two make one stretch.
    order = np.argsort(first, kind="stable")
    first, last = first[order], np.maximum.accumulate(last[order])
    begins = np.append(True, first[1:] > last[:-1])
    stretches = zip(first[begins].tolist(), last[np.append(begins[1:], True)].tolist(), strict=True)
    edges = [np.arange(low, high + 1, dtype=np.float64) for low, high in stretches]
    return np.concatenate(edges)
