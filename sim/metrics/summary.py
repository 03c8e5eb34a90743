"""One flat dictionary that says what a run came to."""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.metrics.admission import admission
from sim.metrics.answers import all_answers
from sim.metrics.context import Columns, RunContext
from sim.metrics.fairness import fairness
from sim.metrics.fleet import fleet, peak_gpus, peak_replicas
from sim.metrics.gpu_time import fractions, gpu_time
from sim.metrics.handover import handover
from sim.metrics.invariants import check_causality, littles_law
from sim.metrics.latency import completed, given_up, itl_statistics, latency_columns
from sim.metrics.numbers import describe, json_ready
from sim.metrics.parts import by_pool, by_tenant
from sim.metrics.saturation import saturation
from sim.metrics.sessions import sessions
from sim.metrics.starvation import by_group, starvation
from sim.metrics.throughput import max_output_tokens_per_s, throughput
from sim.metrics.utilisation import adapters, cost, engine_load, model_utilisation
from sim.metrics.validity import validity
from sim.record import STATUS

_LATENCIES = {
    "ttft": "ttft_s", "tpot": "tpot_s", "e2el": "e2e_s", "queue_wait": "queue_wait_s",
    "normalized_latency": "normalized_s",
}  # fmt: skip


def summarize(
    requests: Columns,
    steps: Columns,
    itl_bins: NDArray[Any],
    itl_counts: NDArray[Any],
    context: RunContext,
) -> dict[str, Any]:
    """The run in one JSON-ready dictionary, the same bytes for the same run.

    Field names are `vllm bench serve`'s where it reports the same (rates per second, `_ms` latencies,
    `duration` in s); the rest end in their unit. Latencies, throughput and goodput are of measured
    requests; GPU time, cost, batch, queue and KV figures of the whole run. Undefined values are None.
    Raises InvariantError when the tables break INV-3 or INV-4.
    """
    check_causality(requests)
    latencies = latency_columns(requests)
    seconds = gpu_time(steps, context)
    verdict = saturation(requests, context)
    law = littles_law(requests, steps, context)
    head = {
        "name": context.name,
        "backend": "servecast",
        "model_id": context.model,
        "gpu": context.gpu,
        "gpus": peak_gpus(context.replicas, context.lives),
        "replicas": peak_replicas(context.lives),
        "provenance": context.provenance,
        "saturated": verdict.saturated,
    }
    body = throughput(requests, latencies, context)
    body["max_output_tokens_per_s"] = max_output_tokens_per_s(requests, steps)
    ours = {
        "requests": _counts(requests),
        "admission": admission(requests, context),
        "makespan_s": context.makespan_s,
        "saturation": asdict(verdict),
        "gpu_time": {"total_s": sum(seconds.values()), "seconds": seconds, "fraction": fractions(seconds)},
        **model_utilisation(steps, context),
        **engine_load(requests, steps, context),
        "handover": handover(requests, context),
        **cost(requests, context),
        "fleet": fleet(context),
        "all_answers": all_answers(requests),
        "sessions": sessions(requests, context),
        "given_up_output_tokens": int(requests["generated_tokens"][given_up(requests)].sum()),
        **starvation(requests),
        "by_priority": by_group(requests, "priority"),
        "by_tenant": by_tenant(requests, latencies, context),
        "by_adapter": by_group(requests, "adapter") if "adapter" in requests else None,
        "adapters": adapters(requests, context),
        "by_pool": by_pool(requests, steps, context),
        "fairness": fairness(requests, context.makespan_s),
        "validity": validity(requests, steps, latencies, context, verdict),
        "mean_in_system": law.mean_in_system if law else None,
        "littles_law_relative_error": law.relative_error if law else None,
        "warnings": list(context.warnings),
    }
    result: dict[str, Any] = json_ready(head | body | _latency_fields(requests, itl_bins, itl_counts) | ours)
    return result


def _latency_fields(requests: Columns, itl_bins: NDArray[Any], itl_counts: NDArray[Any]) -> dict[str, float]:
    """mean_, median_, std_, p50_ ... p99_ of ttft, tpot, itl, e2el, queue_wait and normalized_latency, in ms."""
    done = completed(requests)
    columns = latency_columns(requests)
    tables = {}
    for name, column in _LATENCIES.items():
        values = columns[column][done]
        tables[name] = describe(values[~np.isnan(values)])
        if name == "tpot":
            tables["itl"] = itl_statistics(itl_bins, itl_counts, requests)
    return {
        f"{statistic}_{name}_ms": value * 1e3 for name, table in tables.items() for statistic, value in table.items()
    }


def _counts(requests: Columns) -> dict[str, int]:
    """How many requests there were and how they ended, measured or not."""
    status = requests["status"]
    ends = {name: int(np.sum(status == name)) for name in STATUS}
    return {"total": len(status), **ends}
