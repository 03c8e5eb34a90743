"""One run from end to end: a scenario in; the record, the summary and the warnings out."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from sim.cluster.simulate import simulate
from sim.latency.curves import Curves
from sim.metrics import Columns, RunContext, Slo, saturation, summarize
from sim.metrics.starvation import STARVED_TIMES, starvation
from sim.models.dtypes import compute_dtype
from sim.models.operations import sample_operations, token_operations
from sim.models.work import flops_and_bytes
from sim.provenance import versions
from sim.record import Record
from sim.resolve import Setup, resolve
from sim.scenario import Scenario
from sim.workload.table import RequestTable

_FILLING_SHARE = 0.1
"""Share of the measured arrivals that may fall into the time in which the empty cluster fills up."""

_STARVED_SHARE = 0.005
"""Share of starved requests from which on it is said."""


def measure(
    scenario: Scenario, *, fast_forward: bool, progress: Callable[[int, int], None] | None
) -> tuple[Scenario, Record, RunContext, dict[str, Any]]:
    """Simulate; returns the resolved scenario, the record, what the metrics knew, and the summary."""
    setup = resolve(scenario)
    said = setup.scenario
    table = said.workload.table(said.seed, Path(said.base_dir))
    record = simulate(
        table,
        replicas=said.cluster.replicas,
        make_engine=setup.make_engine,
        timer=setup.timer(),
        router=said.cluster.router,
        seed=said.seed,
        request_overhead_s=said.engine.host_request_s or 0.0,
        output_overhead_s=said.engine.host_output_s or 0.0,
        request_timeout_s=said.cluster.request_timeout,
        queue_timeout_s=said.cluster.queue_timeout,
        warmup_s=said.measure.warmup,
        cooldown_s=said.measure.cooldown,
        host_link=setup.host_link,
        decide_ahead=bool(said.engine.async_scheduling),
        make_first_use=setup.make_first_use,
        fast_forward=fast_forward,
        progress=progress,
    )
    context = _context(setup, table, record)
    context = replace(context, warnings=tuple(_warnings(setup, table, record, context)))
    summary = summarize(record.requests, record.steps, record.itl_bins, record.itl_counts, context)
    summary["memory_per_gpu"] = asdict(setup.memory)
    summary["made_with"] = _made_with(setup, table)
    return said, record, context, summary


def _context(setup: Setup, table: RequestTable, record: Record) -> RunContext:
    said, profile, tp = setup.scenario, setup.profile, setup.scenario.cluster.tensor_parallel
    steps: Any = record.steps
    flops, moved = flops_and_bytes(
        setup.model,
        steps=steps["steps"],
        prefill_tokens=steps["prefill_tokens"],
        decodes=steps["decodes"],
        sampled=steps["sampled"],
        context_tokens=steps["context_tokens"],
        attention_pairs=steps["attention_pairs"],
        # the record counts all KV that the chunks read, their own tokens included
        prefill_context_tokens=steps["prefill_context_tokens"] - steps["prefill_tokens"] * steps["steps"],
        tp=tp,
        weight_dtype=setup.memory.weight_dtype,
        kv_dtype=setup.memory.kv_dtype,
    )
    return RunContext(
        replicas=record.replicas,
        gpus_per_replica=tp,
        kv_blocks=record.kv_blocks,
        block_size=record.block_size,
        kv_grows=record.kv_grows,
        counters=record.counters,
        makespan_s=record.makespan_s,
        slo=Slo(ttft_s=said.slo.ttft, tpot_s=said.slo.tpot, e2e_s=said.slo.e2el),
        closed_loop=table.closed_loop is not None,
        tenants=record.tenants,
        name=said.name,
        model=setup.model.name,
        gpu=profile.name,
        provenance=_provenance(setup),
        price_usd_per_gpu_hour=setup.price_usd_per_gpu_hour,
        peak_flops=profile.peak(compute_dtype(setup.memory.weight_dtype)),
        peak_bytes_per_s=profile.memory_bandwidth_bytes_per_s,
        step_flops=flops * tp,
        step_bytes=moved * tp,
    )


def _uses_profile(setup: Setup) -> bool:
    from sim.latency.profile import Profile

    return isinstance(setup.scenario.latency, Profile)


def _provenance(setup: Setup) -> str:
    if not _uses_profile(setup):
        return f"{type(setup.scenario.latency).__name__} (no GPU's)"
    return f"{setup.profile.provenance} {setup.profile.name}, {setup.profile.date}"


def _made_with(setup: Setup, table: RequestTable) -> dict[str, Any]:
    """What the numbers rest on: versions, seed, profile and preset with their origins."""
    profile, engine = setup.profile, setup.scenario.engine
    return {
        "versions": versions(),
        "seed": setup.scenario.seed,
        "requests_from": table.source,
        "profile": {
            "name": profile.name,
            "provenance": profile.provenance,
            "date": profile.date,
            "sha256": profile.digest,
        },
        "engine_preset": engine.preset,
    }


def _warnings(setup: Setup, table: RequestTable, record: Record, context: RunContext) -> list[str]:
    requests: Any = record.requests
    steps: Any = record.steps
    found = [
        _datasheet(setup),
        _left_to_roofline(setup),
        _extrapolated(steps),
        *_left_out(table, requests, setup),
        # A queue that grows for ever takes no time to fill: its requests' lives say nothing about warm-up.
        "" if saturation(requests, context).saturated else _filling(requests),
        _starving(requests),
        *table.notes,
        *setup.model.notes,
    ]
    if setup.scenario.variants:
        names = ", ".join(setup.scenario.variants)
        found.append(
            f"this is the base scenario; its variants were not run: {names} "
            "(servecast compare runs them all, --variant one)"
        )
    return [text for text in found if text]


def _starving(requests: Columns) -> str:
    found = starvation(requests)
    share = found["starved_share"] or 0.0
    if share < _STARVED_SHARE:
        return ""
    return (
        f"{share:.1%} of the requests starved: they waited over {STARVED_TIMES} times the median and let at least "
        f"{STARVED_TIMES} later ones pass (at worst {found['max_queue_wait_ms'] / 1e3:.3g} s, "
        f"{found['max_overtaken']:,} passed); an order that ages, such as aged_priority, prevents it"
    )


def _datasheet(setup: Setup) -> str:
    if not _uses_profile(setup) or setup.profile.provenance == "measured":
        return ""
    return (
        f"step times of {setup.profile.name} are not measured but computed from {setup.profile.provenance} "
        "figures; take absolute times as estimates"
    )


def _left_to_roofline(setup: Setup) -> str:
    if not _uses_profile(setup):
        return ""
    model, tp = setup.model, setup.scenario.cluster.tensor_parallel
    names = Curves(setup.profile).left_to_roofline([*token_operations(model, 1, tp), *sample_operations(model, 1, tp)])
    if not names:
        return ""
    return (
        f"{setup.profile.name} has no points of {', '.join(names)}: their times are bytes over its datasheet's "
        "memory bandwidth"
    )


def _extrapolated(steps: Columns) -> str:
    outside = int(steps["steps"][steps["extrapolated"]].sum())
    if not outside:
        return ""
    share = outside / int(steps["steps"].sum())
    return f"{share:.1%} of the steps lie outside the profile's measured range, so their times are extrapolated"


def _left_out(table: RequestTable, requests: Columns, setup: Setup) -> list[str]:
    longest = setup.limits.max_model_len
    rejected = int(np.sum(requests["status"] == "rejected"))
    kept = requests["status"] != "rejected"
    asked = table.output_tokens
    if table.cancel_after_tokens is not None:
        asked = np.minimum(asked, table.cancel_after_tokens)
    truncated = int(np.sum(kept & (requests["output_tokens"] < asked[requests["id"]])))
    given_up = {name: int(np.sum(requests["status"] == name)) for name in ("cancelled", "timed_out")}
    found = []
    if any(given_up.values()):
        found.append(
            f"{given_up['cancelled']} requests were cancelled by their clients and {given_up['timed_out']} timed out "
            "at the server: latencies are of those that finished"
        )
    if rejected:
        found.append(f"{rejected} requests rejected: their prompts reach engine.max_model_len ({longest} tokens)")
    if truncated:
        found.append(f"{truncated} outputs cut short at engine.max_model_len ({longest} tokens)")
    if table.skipped_rows:
        found.append(f"{table.skipped_rows} rows of the trace were skipped because they could not be used")
    return found


def _filling(requests: Any) -> str:
    """The cluster starts empty and takes about one request's life to fill; until then there is less load."""
    arrival = requests["arrival_s"][requests["measured"]]
    if not arrival.size:
        return "no request was measured: shorten measure.warmup or measure.cooldown"
    finished = requests["status"] == "finished"
    if not finished.any():
        return ""
    life = float(np.mean(requests["finish_s"][finished] - requests["arrival_s"][finished]))
    begin, span = float(arrival.min()), float(arrival.max() - arrival.min())
    share = (life - begin) / span if span else 0.0
    if share <= _FILLING_SHARE:
        return ""
    return (
        f"the cluster starts empty and fills in about {life:.3g} s, {min(share, 1.0):.0%} of the measured "
        "arrivals: set measure.warmup to that, or simulate longer"
    )
