"""Requests in, tables out: arrivals, a router and replicas under one virtual clock."""

from collections.abc import Callable
from math import inf

import numpy as np
import simpy

from sim.cluster.arrivals import Forecast, closed_loop_arrivals, make_requests, open_arrivals
from sim.cluster.giving_up import GivingUp
from sim.cluster.host_link import HostLink
from sim.cluster.replica import Replica
from sim.engine import Engine
from sim.errors import ServecastError
from sim.latency import StepTimer
from sim.latency.first_use import FirstUse
from sim.record import GapLog, Record, RequestLog, step_columns
from sim.request import Request
from sim.routing import Router
from sim.streams import stream
from sim.workload.table import RequestTable

_PROGRESS_EVERY = 256


def simulate(
    table: RequestTable,
    *,
    replicas: int,
    make_engine: Callable[[], Engine],
    timer: StepTimer,
    router: Router,
    seed: int,
    request_overhead_s: float = 0.0,
    output_overhead_s: float = 0.0,
    warmup_s: float = 0.0,
    cooldown_s: float = 0.0,
    request_timeout_s: float | None = None,
    queue_timeout_s: float | None = None,
    host_link: HostLink | None = None,
    decide_ahead: bool = False,
    make_first_use: Callable[[], FirstUse | None] = lambda: None,
    fast_forward: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Record:
    """Serve every request and record what happened.

    A request reaches the router `request_overhead_s` after it was sent, and the tokens of a step reach their
    clients `output_overhead_s` after its end for each of them. Requests sent in the first
    `warmup_s`, or in the last `cooldown_s` before the last one is sent, are served but not measured.
    The server gives a request up `request_timeout_s` after a replica got it, or `queue_timeout_s` after that if no
    step has begun for it. `host_link` is needed by a KV cache that moves blocks to the host's memory. `decide_ahead`
    is asynchronous scheduling: a step is decided while the one before it is under way. `make_first_use` says what a
    fresh replica still has to compile.
    `fast_forward` off simulates every step on its own; the tables must come out the same.
    `progress` is called with (requests done, requests) now and then. Raises ServecastError when a
    request can never be served, or when a cool-down is asked of a closed loop, whose last arrival
    nobody knows beforehand.
    """
    if cooldown_s and table.closed_loop is not None:
        raise ServecastError("a closed loop has no known last arrival: leave out measure.cooldown")
    if decide_ahead and not getattr(make_engine().batching, "decides_ahead", False):
        raise ServecastError("this batching cannot decide a step while one is under way: decide_ahead must be False")
    env = simpy.Environment()
    requests = make_requests(table, warmup_s, cooldown_s)
    log, gaps = RequestLog(len(table)), GapLog()
    left = 0

    def leave(request: Request, replica: int, status: str, now_s: float) -> None:
        nonlocal left
        log.write(request, replica, status)
        left += 1
        if progress is not None and (left % _PROGRESS_EVERY == 0 or left == len(table)):
            progress(left, len(table))
        if next_of_user is not None:
            next_of_user(now_s)

    def end(request: Request, replica: int, status: str) -> None:
        leave(request, replica, status, request.finish_s)

    giving_up: GivingUp | None = None
    timeouts_s = [inf if after is None else after for after in (request_timeout_s, queue_timeout_s)]
    if table.cancel_after_s is not None or min(timeouts_s) < inf:
        giving_up = GivingUp(*timeouts_s)
    closed_loop = table.closed_loop is not None
    forecast = Forecast()
    own_forecast = forecast if replicas == 1 else Forecast()  # whose a request will be is not known before
    fleet = [
        Replica(
            env,
            index,
            make_engine(),
            timer,
            gaps,
            end,
            own_forecast,
            fast_forward,
            closed_loop,
            decide_ahead,
            output_overhead_s,
            make_first_use(),
            host_link,
        )
        for index in range(replicas)
    ]
    choose = router.start(stream(seed, "router"))
    engine = fleet[0].engine
    max_model_len = engine.limits.max_model_len

    def arrive(request: Request) -> None:
        if closed_loop:
            request.measured = request.arrival_s >= warmup_s
        if request.prompt_tokens >= max_model_len:
            leave(request, -1, "rejected", env.now)
            return
        room = max_model_len - request.prompt_tokens
        if request.output_tokens > room:
            request.output_tokens = room
            request.ends_as = "finished"  # cut short before its client has read enough
        replica = fleet[choose(request, fleet)]
        replica.deliver(request)
        if giving_up is not None:
            giving_up.watch(request, replica)

    next_of_user: Callable[[float], None] | None = None
    if table.closed_loop is None:
        open_arrivals(env, requests, arrive, request_overhead_s, forecast)
    else:
        next_of_user = closed_loop_arrivals(env, requests, table.closed_loop, arrive, request_overhead_s)
    env.run()
    if left != len(table):
        raise AssertionError(f"INV-1: {len(table)} requests arrived and {left} left")
    for replica in fleet:
        replica.engine.check()

    steps = step_columns([replica.log for replica in fleet])
    bins, counts = gaps.histogram()
    requests_columns = log.columns()
    if table.prompts is not None:
        requests_columns["prompt"] = table.prompts[requests_columns["id"]]
    return Record(
        requests=requests_columns,
        steps=steps,
        itl_bins=bins,
        itl_counts=counts,
        replicas=replicas,
        kv_blocks=engine.kv.num_blocks,
        block_size=engine.limits.block_size,
        kv_grows=engine.kv.grows,
        makespan_s=float(np.max(steps["end_s"], initial=0.0)),
        tenants=table.tenants,
        counters={
            "engine_steps": sum(replica.log.engine_steps for replica in fleet),
            "step_rows": len(steps["end_s"]),
            **_transfers(fleet),
        },
    )


def _transfers(fleet: list[Replica]) -> dict[str, int]:
    """KV blocks that moved between GPUs and hosts, by the reason; nothing where that cannot be."""
    counts = [replica.engine.kv.transfers.totals() for replica in fleet if replica.engine.kv.transfers is not None]
    return {name: sum(count[name] for count in counts) for name in (counts[0] if counts else ())}
