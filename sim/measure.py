"""One run from end to end: a scenario in; the record, the summary and the warnings out."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from sim.cluster.simulate import simulate
from sim.cluster.turning_away import TurningAway
from sim.errors import ScenarioError
from sim.kvcache.capacity import HybridMemorySplit
from sim.latency.curves import Curves
from sim.metrics import Columns, RunContext, Slo, saturation, summarize
from sim.metrics.context import UNKNOWN, Floats, context_of
from sim.metrics.series import entered
from sim.metrics.starvation import STARVED_TIMES, starvation
from sim.models.dtypes import compute_dtype
from sim.models.operations import sample_operations, token_operations
from sim.models.work import Windowed, flops_and_bytes
from sim.provenance import versions
from sim.record import Record
from sim.resolve import Cluster, Setup, resolve_cluster
from sim.resolve.handover import handover_rules
from sim.resolve.no_effect import without_effect
from sim.scenario import Scenario
from sim.sections import Slo as Targets
from sim.windowed_record import COLUMNS as WINDOW_COLUMNS
from sim.workload.table import RequestTable

_FILLING_SHARE = 0.1
"""Share of the measured arrivals that may fall into the time in which the empty cluster fills up."""

_BUBBLE_SHARE = 0.3
"""Share of a pipeline's time that its stages stand still, from which on it is said."""

_STARVED_SHARE = 0.005
"""Share of starved requests from which on it is said."""


def measure(
    scenario: Scenario, *, fast_forward: bool, progress: Callable[[int, int], None] | None
) -> tuple[Scenario, Record, RunContext, dict[str, Any]]:
    """Simulate; returns the resolved scenario, the record, what the metrics knew, and the summary."""
    cluster = resolve_cluster(scenario)
    said = cluster.scenario
    table = _with_priorities(said, said.workload.table(said.seed, Path(said.base_dir)))
    _refuse_adapters(cluster, table)
    record = simulate(
        table,
        cluster.parts(),
        router=said.cluster.router,
        router_staleness_s=said.cluster.router_staleness,
        gateway_latency_s=said.cluster.gateway_latency,
        turning_away=TurningAway(said.cluster.admission, said.workload.retries),
        seed=said.seed,
        models=cluster.models(table.tenants),
        request_timeout_s=said.cluster.request_timeout,
        queue_timeout_s=said.cluster.queue_timeout,
        faults=said.cluster.faults,
        most_requeues=said.cluster.max_requeues if said.cluster.on_crash == "requeue" else 0,
        most_held=said.cluster.max_gateway_queue,
        ttft_s=said.slo.ttft,
        tpot_s=said.slo.tpot,
        handover_rules=handover_rules(said.cluster.disaggregation),
        decode_router=said.cluster.disaggregation.decode_router,
        warmup_s=said.measure.warmup,
        cooldown_s=said.measure.cooldown,
        fast_forward=fast_forward,
        progress=progress,
    )
    context = _context(cluster, table, record)
    found = (*_warnings(cluster, table, record, context), *without_effect(scenario, cluster, table))
    context = replace(context, warnings=found)
    summary = summarize(record.requests, record.steps, record.itl_bins, record.itl_counts, context)
    memory = {name: asdict(setup.memory) for name, setup in cluster.pools.items()}
    summary["memory_per_gpu"] = memory if said.cluster.pools else memory[""]
    summary["made_with"] = _made_with(cluster, table)
    return said, record, context, summary


def _with_priorities(said: Scenario, table: RequestTable) -> RequestTable:
    """The table with the priorities that the scenario gives its tenants."""
    given = [said.tenants[name].priority if name in said.tenants else None for name in table.tenants]
    if all(priority is None for priority in given):
        return table
    tenant = np.zeros(len(table), np.int64) if table.tenant is None else table.tenant
    changes = np.array([priority is not None for priority in given])[tenant]
    priorities = np.array([priority or 0 for priority in given])[tenant]
    return replace(table, priority=np.where(changes, priorities, table.priority))


def _slo(slo: Targets) -> Slo:
    return Slo(ttft_s=slo.ttft, tpot_s=slo.tpot, e2e_s=slo.e2el)


def _refuse_adapters(cluster: Cluster, table: RequestTable) -> None:
    """Raise ScenarioError for LoRA adapters that an engine has no place for."""
    if table.adapter is None:
        return
    wanted = len(np.unique(table.adapter[table.adapter >= 0]))
    for setup in cluster.pools.values():
        lora = setup.scenario.engine.lora
        if lora is None:
            raise ScenarioError(
                f"{setup.scenario.name}: requests want {wanted} LoRA adapters, and the engine takes none; "
                "give engine.lora: {max_loras: ...}, or leave out their adapters"
            )
        if lora.disk_bytes_per_s is None and lora.host_slots < wanted:
            raise ScenarioError(
                f"{setup.scenario.name}, engine.lora: host memory holds {lora.host_slots} of the {wanted} adapters; "
                "raise max_cpu_loras, or give disk_bytes_per_s, how fast the others are read"
            )


def _context(cluster: Cluster, table: RequestTable, record: Record) -> RunContext:
    said = cluster.scenario
    steps: Any = record.steps
    flops, moved = np.zeros(len(steps["steps"])), np.zeros(len(steps["steps"]))
    facts = {name: np.full(len(record.replicas["pool"]), value) for name, value in UNKNOWN.items()}
    for index, setup in enumerate(cluster.pools.values()):
        mine = record.replicas["pool"] == index
        facts["peak_flops"][mine] = setup.profile.peak(compute_dtype(setup.memory.weight_dtype))
        facts["peak_bytes_per_s"][mine] = setup.profile.memory_bandwidth_bytes_per_s
        if setup.price_usd_per_gpu_hour is not None:
            facts["price_usd_per_gpu_hour"][mine] = setup.price_usd_per_gpu_hour
        rows = mine[steps["replica"]]
        flops[rows], moved[rows] = _work(setup, {name: column[rows] for name, column in steps.items()})
    return context_of(
        record,
        replicas={**record.replicas, **facts},
        slo=_slo(said.slo),
        tenant_slo={name: _slo(tenant.slo) for name, tenant in said.tenants.items()},
        closed_loop=table.closed_loop is not None,
        last_start_s=float(table.arrival_s[-1]) if table.waits else inf,
        name=said.name,
        model=_each(setup.model.name for setup in cluster.pools.values()),
        gpu=_each(setup.profile.name for setup in cluster.pools.values()),
        provenance=_each(_provenance(setup) for setup in cluster.pools.values()),
        step_flops=flops,
        step_bytes=moved,
    )


def _work(setup: Setup, steps: Columns) -> tuple[Floats, Floats]:
    """FLOPs and bytes of each row, over all GPUs of its replica."""
    tp = setup.scenario.cluster.tensor_parallel
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
        window=_seen_in_windows(steps) if setup.model.sliding_layers else None,
        tp=tp,
        weight_dtype=setup.memory.weight_dtype,
        kv_dtype=setup.memory.kv_dtype,
    )
    if setup.scenario.cluster.data_parallel > 1:  # whose experts were read for whom, a rank's rows do not say
        moved = np.full_like(moved, np.nan)
    return flops * tp, moved * tp


def _seen_in_windows(steps: Columns) -> Windowed:
    read, pairs, keys = (steps[name] for name in WINDOW_COLUMNS)
    return Windowed(read, pairs, keys - steps["prefill_tokens"] * steps["steps"])


def _each(names: Iterable[str]) -> str:
    """Different names once each, in their order."""
    return " + ".join(dict.fromkeys(names))


def _uses_profile(scenario: Scenario) -> bool:
    from sim.latency.profile import Profile

    return isinstance(scenario.latency, Profile)


def _provenance(setup: Setup) -> str:
    if not _uses_profile(setup.scenario):
        return f"{type(setup.scenario.latency).__name__} (no GPU's)"
    return f"{setup.profile.provenance} {setup.profile.name}, {setup.profile.date}"


def _made_with(cluster: Cluster, table: RequestTable) -> dict[str, Any]:
    """What the numbers rest on: versions, seed, profiles and presets with their origins."""
    made = {"versions": versions(), "seed": cluster.scenario.seed, "requests_from": table.source}
    made["requests_sha256"] = asked_sha256(table)
    pools = {name: _parts(setup) for name, setup in cluster.pools.items()}
    return {**made, "pools": pools} if cluster.scenario.cluster.pools else {**made, **pools[""]}


def _parts(setup: Setup) -> dict[str, Any]:
    profile = setup.profile
    return {
        "profile": {
            "name": profile.name,
            "provenance": profile.provenance,
            "date": profile.date,
            "sha256": profile.digest,
        },
        "engine_preset": setup.scenario.engine.preset,
    }


def asked_sha256(table: RequestTable) -> str:
    """What tells whether two runs were asked to serve the same requests."""
    columns = (table.arrival_s, table.prompt_tokens, table.output_tokens, table.turns, table.pause_s)
    return sha256(b"".join(column.tobytes() for column in columns if column is not None)).hexdigest()


def _warnings(cluster: Cluster, table: RequestTable, record: Record, context: RunContext) -> list[str]:
    requests: Any = record.requests
    steps: Any = record.steps
    setups = cluster.pools.values()
    found = [
        *(_datasheet(setup) for setup in setups),
        *(_left_to_roofline(setup) for setup in setups),
        *(_unmeasured_adapters(setup, record) for setup in setups),
        _extrapolated(steps),
        _bubbles(steps),
        *_left_out(table, requests, cluster),
        # A queue that grows for ever takes no time to fill: its requests' lives say nothing about warm-up.
        "" if saturation(requests, context).saturated else _filling(requests),
        _ebbing(requests, context),
        _not_sent(record),
        _starving(requests),
        *table.notes,
        *(note for setup in setups for note in setup.model.notes),
        *(_keeps_windows(setup) for setup in setups),
    ]
    if cluster.scenario.variants:
        names = ", ".join(cluster.scenario.variants)
        found.append(
            f"this is the base scenario; its variants were not run: {names} "
            "(servecast compare runs them all, --variant one)"
        )
    return [text for text in dict.fromkeys(found) if text]


def _keeps_windows(setup: Setup) -> str:
    model = setup.model
    if not model.sliding_layers or isinstance(setup.memory, HybridMemorySplit):
        return ""
    return (
        f"{model.sliding_layers} of {model.layers} layers of {model.name} see {model.sliding_window} tokens, and this "
        "engine's KV cache keeps the whole context for them; with engine.kv_cache paged, "
        "disable_hybrid_kv_cache_manager false and neither swap, offload nor a draft model it frees the rest"
    )


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
    if not _uses_profile(setup.scenario) or setup.profile.provenance == "measured":
        return ""
    return (
        f"step times of {setup.profile.name} are not measured but computed from {setup.profile.provenance} "
        "figures; take absolute times as estimates"
    )


def _left_to_roofline(setup: Setup) -> str:
    if not _uses_profile(setup.scenario):
        return ""
    model, tp = setup.model, setup.scenario.cluster.tensor_parallel
    names = Curves(setup.profile).left_to_roofline([*token_operations(model, 1, tp), *sample_operations(model, 1, tp)])
    if not names:
        return ""
    return (
        f"{setup.profile.name} has no points of {', '.join(names)}: their times are bytes over its datasheet's "
        "memory bandwidth"
    )


def _unmeasured_adapters(setup: Setup, record: Record) -> str:
    if (
        not record.counters.get("adapter_loads")
        or not _uses_profile(setup.scenario)
        or setup.profile.provenance != "measured"
    ):
        return ""
    return "the kernels of LoRA adapters are not measured: their times are bytes and FLOPs over the datasheet's rates"


def _extrapolated(steps: Columns) -> str:
    outside = int(steps["steps"][steps["extrapolated"]].sum())
    if not outside:
        return ""
    share = outside / int(steps["steps"].sum())
    return f"{share:.1%} of the steps lie outside the profile's measured range, so their times are extrapolated"


def _bubbles(steps: Columns) -> str:
    busy_s = float((steps["end_s"] - steps["start_s"])[steps["bubble_s"] != 0].sum())
    share = float(steps["bubble_s"].sum()) / busy_s if busy_s else 0.0
    if share < _BUBBLE_SHARE:
        return ""
    return (
        f"the stages of the pipeline stood still for {share:.0%} of the time in which it had work: one batch fills one "
        "stage at a time, and arrivals join the batch that runs; fewer stages, or a lower "
        "engine.max_num_batched_tokens, which keeps batches apart, may serve more"
    )


def _left_out(table: RequestTable, requests: Columns, cluster: Cluster) -> list[str]:
    longest = max(setup.limits.max_model_len for setup in cluster.pools.values())
    longest_prompt = max(setup.make_engine().longest_prompt for setup in cluster.pools.values())
    rejected, refused = (int(np.sum(requests["status"] == name)) for name in ("rejected", "refused"))
    kept = entered(requests)
    asked = table.output_tokens
    if table.cancel_after_tokens is not None:
        asked = np.minimum(asked, table.cancel_after_tokens)
    truncated = int(np.sum(kept & (requests["output_tokens"] < asked[requests["id"]])))
    given_up = {name: int(np.sum(requests["status"] == name)) for name in ("cancelled", "timed_out")}
    failed = int(np.sum(requests["status"] == "failed"))
    found = []
    if failed:
        found.append(f"{failed} requests failed: their replica crashed, or there was none any more")
    if any(given_up.values()):
        found.append(
            f"{given_up['cancelled']} requests were cancelled by their clients and {given_up['timed_out']} timed out "
            "at the server: latencies are of those that finished"
        )
    if refused:
        found.append(
            f"{refused} requests were refused by cluster.admission"
            + (", after the last attempt of their clients" if "attempts" in requests else "")
            + ": latencies are of those that finished"
        )
    if rejected:
        limit = f"reach engine.max_model_len ({longest} tokens)"
        if longest_prompt < longest - 1:
            limit = f"are longer than a step of engine.max_num_batched_tokens ({longest_prompt}), and not split"
        found.append(f"{rejected} requests rejected: their prompts {limit}")
    if truncated:
        found.append(f"{truncated} outputs cut short at engine.max_model_len ({longest} tokens)")
    return found


def _not_sent(record: Record) -> str:
    count = record.counters["requests_not_sent"]
    if not count:
        return ""
    return f"{count} requests were never sent: a turn before them was rejected, refused, given up or failed"


def _ebbing(requests: Columns, context: RunContext) -> str:
    """After the last session has started, only those under way send anything."""
    if context.closed_loop or not requests["measured"].any():
        return ""
    late = requests["measured"] & (requests["arrival_s"] > context.last_start_s)
    share = float(np.sum(late)) / int(np.sum(requests["measured"]))
    if share <= _FILLING_SHARE:
        return ""
    return (
        f"{share:.0%} of the measured requests were sent after the last session had started, while the load fell: "
        "set measure.cooldown (any time above 0 leaves them out), or give the workload more sessions"
    )


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
