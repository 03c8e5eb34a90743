"""What lies between the first token and the second, where prompts are computed by other replicas than the answers."""

from typing import Any

import numpy as np

from sim.metrics.context import Columns, Floats, RunContext
from sim.metrics.latency import completed
from sim.metrics.numbers import describe, ratio
from sim.metrics.series import entered


def handover_columns(requests: Columns) -> dict[str, Floats]:
    """Seconds of each request at each stage between the two replicas, NaN where it was not handed over; else nothing.

    decode_queue_wait_s = from the first token's step until there was room at the decode replica and its KV could be
    sent (0 if that was before); kv_transfer_s = from the first byte sent to the last received, of which kv_exposed_s
    after the prompt's end; decode_wait_s = from then on until a step began for it.
    """
    if "prefill_replica" not in requests:
        return {}
    prefilled, sent, received = (requests[name] for name in ("prefilled_s", "kv_sent_s", "kv_received_s"))
    return {
        "decode_queue_wait_s": np.maximum(sent - prefilled, 0.0),
        "kv_transfer_s": received - sent,
        "kv_exposed_s": received - np.maximum(sent, prefilled),
        "decode_wait_s": requests["decode_scheduled_s"] - received,
    }


def handover(requests: Columns, context: RunContext) -> dict[str, Any] | None:
    """Requests and bytes handed over, their times in ms, and how busy the links were; None where nothing ever is.

    Times are of measured requests that finished; bytes, and the links' use as a share of what they could carry until
    the makespan, of the whole run: `link_utilisation_mean` over all ports, `_peak` of the busiest one.
    """
    columns = handover_columns(requests)
    if not columns:
        return None
    received = ~np.isnan(requests["kv_received_s"])
    done = completed(requests) & received
    used = context.links["carried_bytes"] / (context.links["bytes_per_s"] * (context.makespan_s or np.inf))
    times = {name.removesuffix("_s"): describe(column[done]) for name, column in columns.items()}
    return {
        "requests": int(received.sum()),
        "share": ratio(int(received.sum()), int(entered(requests).sum())),
        "bytes": int(requests["kv_transfer_bytes"].sum()),
        "link_utilisation_mean": float(np.mean(used)),
        "link_utilisation_peak": float(np.max(used)),
        **{
            f"{statistic}_{name}_ms": value * 1e3 for name, table in times.items() for statistic, value in table.items()
        },
    }
