"""The run told apart: by tenant, and by pool."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.metrics.context import Columns, Floats, RunContext
from sim.metrics.fleet import held_s, of_replica, peak_gpus
from sim.metrics.gpu_time import fractions, gpu_time
from sim.metrics.latency import completed
from sim.metrics.numbers import describe, exact_sum, ratio
from sim.metrics.starvation import by_group
from sim.metrics.throughput import slo_attainment


def by_tenant(requests: Columns, latencies: dict[str, Floats], context: RunContext) -> dict[str, Any] | None:
    """Waits, TTFT and the share of good requests for each tenant; None when there is but one."""
    groups = by_group(requests, "tenant", dict(enumerate(context.tenants)))
    good, shares = slo_attainment(requests, latencies, context)
    if groups is None or shares is None:
        return groups
    for index, name in enumerate(context.tenants):
        if name in groups:
            mine = (requests["tenant"] == index) & requests["measured"]
            groups[name]["slo_attainment"] = ratio(int((good & mine).sum()), int(mine.sum()))
    return groups


def by_pool(requests: Columns, steps: Columns, context: RunContext) -> dict[str, Any] | None:
    """What each pool did, and where its GPU time went; None when there is but one.

    `requests` are those that ended on one of its replicas or had their prompt computed there, output tokens and
    latencies theirs, the latter of the measured that finished.
    """
    if len(context.pools) < 2:
        return None
    result = {}
    for index, name in enumerate(context.pools):
        mine = context.replicas["pool"] == index
        lives = _rows(context.lives, mine)
        seconds = gpu_time(_rows(steps, mine), context, lives)
        here = _were_on(mine, requests["replica"])
        if "prefill_replica" in requests:
            here |= _were_on(mine, requests["prefill_replica"])
        ended = {key: column[here] for key, column in requests.items()}
        done = completed(ended)
        first, finish, arrival = (ended[key][done] for key in ("first_token_s", "finish_s", "arrival_s"))
        hours = held_s(lives, of_replica(context.replicas, "gpus", lives)) / 3600
        result[name] = {
            "replicas": int(mine.sum()),
            "gpus": peak_gpus(context.replicas, lives),
            "gpu_hours": exact_sum(hours),
            "cost_usd": exact_sum(hours * of_replica(context.replicas, "price_usd_per_gpu_hour", lives)),
            "requests": len(ended["id"]),
            "output_tokens": int(ended["generated_tokens"].sum()),
            "mean_ttft_ms": describe(first - arrival)["mean"] * 1e3,
            "p99_ttft_ms": describe(first - arrival)["p99"] * 1e3,
            "p99_e2el_ms": describe(finish - arrival)["p99"] * 1e3,
            "gpu_time": {"total_s": sum(seconds.values()), "fraction": fractions(seconds)},
        }
    return result


def _were_on(mine: NDArray[np.bool_], replica: NDArray[Any]) -> NDArray[np.bool_]:
    """Which requests were on one of these replicas, -1 being none."""
    mask: NDArray[np.bool_] = mine[replica] & (replica >= 0)
    return mask


def _rows(table: Columns, replicas: Any) -> Columns:
    """The rows of some replicas, told by a mask over all of them."""
    mask = replicas[table["replica"]]
    return {name: column[mask] for name, column in table.items()}
