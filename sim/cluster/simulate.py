"""Requests in, tables out: arrivals, a router and replicas under one virtual clock."""

from collections.abc import Callable, Sequence
from functools import partial
from math import inf

import numpy as np
import simpy

from sim.cluster.arrivals import Forecast, make_requests, open_arrivals
from sim.cluster.clock import ANSWERED_ORDER, ARRIVAL_ORDER
from sim.cluster.faults import start_faults
from sim.cluster.fleet import Fleet
from sim.cluster.gateway import Gateway
from sim.cluster.giving_up import GivingUp
from sim.cluster.handover import Handover, HandoverRules
from sim.cluster.lifecycle import Lifecycle
from sim.cluster.loops import Loops
from sim.cluster.lora_replica import LoraReplica
from sim.cluster.pipelined_replica import PipelinedReplica
from sim.cluster.pool import Pool
from sim.cluster.ranks import RankGroups
from sim.cluster.replica import Replica
from sim.cluster.scaler import Arrivals, Scaler, start_scalers
from sim.cluster.staleness import as_seen
from sim.cluster.turning_away import GuardedGateway, TurningAway
from sim.cluster.watched import Common
from sim.engine.adapting import LoraEngine
from sim.errors import ServecastError
from sim.faults import Fault
from sim.latency.pipeline import PipelineTimer
from sim.latency.ranks import RanksTimer
from sim.record import GapLog, Record, RequestLog, pauses_table, step_columns, waits_table
from sim.request import Request
from sim.routing import Router
from sim.streams import stream
from sim.workload.adapting import adapted
from sim.workload.table import RequestTable

_PROGRESS_EVERY = 256


def simulate(
    table: RequestTable,
    pools: Sequence[Pool],
    *,
    router: Router,
    seed: int,
    router_staleness_s: float = 0.0,
    gateway_latency_s: float = 0.0,
    turning_away: TurningAway = TurningAway(),  # noqa: B008
    models: Sequence[str] | None = None,
    warmup_s: float = 0.0,
    cooldown_s: float = 0.0,
    request_timeout_s: float | None = None,
    queue_timeout_s: float | None = None,
    faults: Sequence[Fault] = (),
    most_requeues: int | None = None,
    most_held: int | None = None,
    ttft_s: float | None = None,
    tpot_s: float | None = None,
    handover_rules: HandoverRules = HandoverRules(),  # noqa: B008
    decode_router: Router | None = None,
    fast_forward: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Record:
    """Serve every request and record what happened.

    `models` names the model that each of the table's tenants asks for; otherwise all ask for the first pool's.
    Requests sent in the first `warmup_s`, or in the last `cooldown_s` before the last one is sent (where turns wait
    for answers: before the last session starts), are served but not measured. The server gives a request up
    `request_timeout_s` after a replica got it, or `queue_timeout_s` after that if no step has begun for it. The router
    sees the replicas as they were at the latest multiple of `router_staleness_s`, at 0 as they are. Requests take
    `gateway_latency_s` before they are judged by the rules of `turning_away`, which sees the same, and routed.
    `faults` happen to the replicas; a request whose replica crashes is sent on `most_requeues` times, then it fails
    (None: always sent on, 0: never). While no replica takes requests, `most_held` of them wait at the gateway.
    `ttft_s` and `tpot_s` are the targets of pools that are scaled by them.
    Between pools for prefill and for decode, requests go by `handover_rules`, and to the decode replica that
    `decode_router` chooses (default: as `router`).
    `fast_forward` off simulates every step on its own; the tables must come out the same.
    `progress` is called with (requests done, requests) now and then. Raises ServecastError when a
    request can never be served, or when a cool-down is asked of a closed loop, whose last arrival
    nobody knows beforehand.
    """
    if cooldown_s and table.closed_loop is not None:
        raise ServecastError("a closed loop has no known last arrival: leave out measure.cooldown")
    if table.adapter is not None and any(pool.adapter_costs is None for pool in pools):
        raise ServecastError(
            "requests want LoRA adapters: their engines must take them, and adapter_costs must be given"
        )
    if faults and any(pool.role for pool in pools):
        raise ServecastError("faults are not modelled where prompts are computed elsewhere: leave one out")
    env = simpy.Environment()
    log, gaps = RequestLog(len(table)), GapLog()
    left = 0
    loops: Loops | None = None
    scalers: list[Scaler] = []

    def not_sent() -> int:
        return 0 if loops is None else loops.not_sent

    def leave(request: Request, replica: int, status: str, now_s: float) -> None:
        nonlocal left
        log.write(request, replica, status)
        left += 1
        if progress is not None and (left % _PROGRESS_EVERY == 0 or left == len(table)):
            progress(left, len(table))
        if loops is not None:
            loops.answered(request, status, now_s)

    def end(request: Request, replica: int, status: str) -> None:
        if status == "finished":
            for scaler in scalers:
                scaler.ended(request, replica)
        leave(request, replica, status, request.finish_s)

    def is_over() -> bool:
        return left + not_sent() == len(table)

    forecast = Forecast()
    most = [pool.replicas if pool.scaling is None else pool.scaling.most for pool in pools]
    alone = sum(most) == 1  # or whose a request will be is not known before
    own_forecast = forecast if alone else Forecast()

    groups, handover = RankGroups(), Handover(env, len(table), handover_rules, end)
    common = Common()

    def make(index: int, pool: Pool) -> Replica:
        kind: Callable[..., Replica] = Replica if pool.adapter_costs is None else LoraReplica
        if isinstance(pool.timer, PipelineTimer):
            kind = PipelinedReplica
        elif isinstance(pool.timer, RanksTimer):
            kind = partial(groups.rank, pool.timer)
        kind = handover.kind(index, pool) if pool.role else partial(kind, on_end=end)
        return kind(
            env, index, pool, gaps=gaps, forecast=own_forecast, fast_forward=fast_forward, closed_loop=table.waits,
            common=common,
        )  # fmt: skip

    fleet = Fleet(pools, make)
    lifecycle = Lifecycle(env, fleet, lambda replica, lost: gateway.lost(replica, lost))
    scaled = any(pool.scaling is not None for pool in pools)
    start_faults(faults, lifecycle, seed, is_over, may_grow=scaled)
    for index, pool in enumerate(pools):
        for _ in range(pool.replicas):
            lifecycle.start(index)
    with_caches = bool(getattr(router, "knows_caches", False)) or turning_away.knows_caches
    seen = {
        model: as_seen(env, candidates, router_staleness_s, table.waits, with_caches)
        for model, candidates in fleet.serving.items()
    }
    routers = {
        model: router.start(stream(seed, f"router.{model}" if model else "router"), candidates)
        for model, candidates in seen.items()
    }
    asked = models or [pools[0].model] * len(table.tenants)
    choosers = [routers[model] for model in asked]
    if fleet.decoding:
        decode_routers = {
            model: (decode_router or router).start(stream(seed, f"router.decode.{model}"), candidates)
            for model, candidates in fleet.decoding.items()
        }
        choosers = handover.connect(fleet.replicas, choosers, [decode_routers[model] for model in asked])
    ways = [(fleet.serving[model], choose) for model, choose in zip(asked, choosers, strict=True)]
    giving_up = _giving_up(table, request_timeout_s, queue_timeout_s)
    limits = (inf if most is None else most for most in (most_requeues, most_held))
    order = ANSWERED_ORDER if table.waits else ARRIVAL_ORDER
    make_gateway: Callable[..., Gateway] = Gateway
    if turning_away.rules or turning_away.retries is not None:
        make_gateway = partial(
            GuardedGateway, turning_away=turning_away, seen=[seen[model] for model in asked], tenants=table.tenants,
            rng=stream(seed, "retries"),
        )  # fmt: skip
    gateway = make_gateway(env, fleet, ways, giving_up, leave, common, *limits, gateway_latency_s, order)
    lifecycle.on_ready.append(gateway.release)
    lifecycle.on_gone.append(gateway.forsake)
    scalers += start_scalers(lifecycle, gateway, _arrivals(table, asked), (ttft_s, tpot_s), is_over)

    requests = make_requests(table, warmup_s, cooldown_s)
    if table.adapter is not None:
        requests = adapted(requests, table)
    if table.waits:
        until_s = float(table.arrival_s[-1]) - cooldown_s if cooldown_s else inf
        loops = Loops(env, requests, table, gateway.arrive, gateway.delay_s, forecast, warmup_s, until_s)
    else:
        open_arrivals(env, requests, gateway.arrive, gateway.delay_s, forecast)
    env.run()
    while gateway.despair():  # users of a closed loop may send more then
        env.run()
    if left + not_sent() != len(table):
        raise AssertionError(f"INV-1: {len(table)} requests, of which {left} left and {not_sent()} were never sent")
    for replica in fleet.replicas:
        replica.engine.check()

    steps = step_columns([replica.log for replica in fleet.replicas])
    bins, counts = gaps.histogram()
    guarded = gateway if isinstance(gateway, GuardedGateway) else None
    if guarded is not None:
        log.arrived_before(guarded.first_arrivals())
    requests_columns = log.columns()
    rows = requests_columns["id"]
    if guarded is not None:
        requests_columns |= guarded.columns(rows, requests_columns["arrival_s"])
    if fleet.decoding:
        requests_columns |= handover.columns(rows)
    if table.prompts is not None:
        requests_columns["prompt"] = table.prompts[rows]
    if table.sessions is not None:
        requests_columns |= {"session": table.sessions[rows], "turn": table.turn_numbers()[rows]}
    makespan_s = float(np.max(steps["end_s"], initial=0.0)) or env.now  # without a step: until the last was turned away
    if table.adapter is not None:
        requests_columns["adapter"] = np.array([*table.adapters, ""])[table.adapter[rows]]
    return Record(
        requests=requests_columns,
        steps=steps,
        itl_bins=bins,
        itl_counts=counts,
        replicas=fleet.facts(),
        lives=fleet.lives(makespan_s),
        pools=tuple(pool.name for pool in pools),
        makespan_s=makespan_s,
        tenants=table.tenants,
        counters={
            "engine_steps": sum(replica.log.engine_steps for replica in fleet.replicas),
            "step_rows": len(steps["end_s"]),
            "requests_not_sent": not_sent(),
            **(fleet.counters if faults or scaled else {}),
            **({} if guarded is None else guarded.counters()),
            **_transfers(fleet.replicas),
            **_loads(fleet.replicas),
        },
        waits=waits_table([(replica.index, *wait) for replica in fleet.replicas for wait in replica.waits]),
        pauses=pauses_table(replica.pauses for replica in fleet.replicas),
        links=handover.links(),
    )


def _arrivals(table: RequestTable, models: Sequence[str]) -> dict[str, Arrivals] | None:
    """When requests for each model arrive, and their output tokens; None if that depends on the answers."""
    if table.waits:
        return None
    rows = np.zeros(len(table), np.int64) if table.tenant is None else table.tenant
    wanted = np.array(models)[rows]
    return {model: (table.arrival_s[wanted == model], table.output_tokens[wanted == model]) for model in models}


def _giving_up(table: RequestTable, request_timeout_s: float | None, queue_timeout_s: float | None) -> GivingUp | None:
    """Who watches the requests; nobody where none is ever given up."""
    timeouts_s = [inf if after is None else after for after in (request_timeout_s, queue_timeout_s)]
    if table.cancel_after_s is None and min(timeouts_s) == inf:
        return None
    return GivingUp(*timeouts_s)


def _transfers(fleet: list[Replica]) -> dict[str, int]:
    """Tokens whose KV moved between GPUs and hosts, by the reason; nothing where that cannot be."""
    totals: dict[str, int] = {}
    for engine in (engine for replica in fleet for engine in (*replica.retired, replica.engine)):
        if engine.kv.transfers is None:
            continue
        for name, count in engine.kv.transfers.totals().items():
            if name.endswith("_blocks"):  # whole blocks are moved, and pools may have blocks of their own size
                name, count = name.replace("_blocks", "_tokens"), count * engine.limits.block_size
            totals[name] = totals.get(name, 0) + count
    return totals


def _loads(fleet: list[Replica]) -> dict[str, int]:
    """LoRA adapters that were loaded; nothing where there are none."""
    engines = [engine for replica in fleet for engine in (*replica.retired, replica.engine)]
    loads = [engine.slots.totals for engine in engines if isinstance(engine, LoraEngine)]
    names = {"adapter_loads": "to_gpu", "adapter_disk_loads": "from_disk"}
    return {name: sum(getattr(one, field) for one in loads) for name, field in names.items() if loads}
