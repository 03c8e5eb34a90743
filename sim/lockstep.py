"""Drive one engine by hand and print every decision, to hold it against a real scheduler's log.

The trace names the content of every prompt; the step time is a stated integer formula, so that any
difference in the log is a difference in decisions. Times are integer microseconds.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TextIO

from sim.batching.vllm_v1 import VllmV1
from sim.engine import Engine, EngineLimits, Ordering
from sim.engine.plan import StepPlan
from sim.errors import ScenarioError, TraceError
from sim.kvcache.paged import CachedRun, PagedKVCache
from sim.ordering.fcfs import Fcfs
from sim.request import Request

VLLM = "0.32.0"
"""The version whose decisions are followed."""

_DEFAULTS: dict[str, Any] = {
    "max_num_seqs": 256, "max_num_batched_tokens": 8192, "max_num_scheduled_tokens": None,
    "enable_chunked_prefill": True, "long_prefill_token_threshold": 0,
    "long_prefill_token_threshold_adaptive": False, "block_size": 16, "num_gpu_blocks": 8192,
    "enable_prefix_caching": True, "policy": "fcfs", "watermark": 0.0, "scheduler_reserve_full_isl": True,
    "max_model_len": 32768, "async": False,
    "t_base_us": 5000, "t_prefill_tok_us": 20, "t_decode_req_us": 100, "t_ctx_div": 100, "t_empty_us": 1000,
}  # fmt: skip


def lockstep(trace: Path, config: Path, out: TextIO, group_decodes: bool = True) -> None:
    """Run the requests of `trace` (JSON lines) under the settings of `config` (JSON) and print the step log.

    `group_decodes` off schedules one by one; the log must not differ. Raises TraceError and ScenarioError
    for what cannot be read, is unknown, or is not modelled.
    """
    settings = _read_config(config)
    requests, names = _read_trace(trace, settings)
    engine = _engine(settings, names, group_decodes)
    first_hits: dict[Request, int] = {}
    steps = list(_run(engine, requests, names, settings, first_hits))
    meta = {
        "kind": "meta",
        "vllm": VLLM,
        "config": settings,
        "n_requests": len(requests),
        "n_steps": len(steps),
    }
    rows = [_request_line(request, names, first_hits[request]) for request in requests]
    for line in (meta, *steps, *rows):
        out.write(json.dumps(line, separators=(",", ":")) + "\n")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        given = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ScenarioError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(given, dict):
        raise ScenarioError(f"{path}: must be a JSON object of engine settings")
    for key in given:
        if key not in _DEFAULTS:
            raise ScenarioError(f"{path}: unknown setting {key!r}; known are {', '.join(_DEFAULTS)}")
    settings = _DEFAULTS | given
    if settings["policy"] not in ("fcfs", "priority"):
        raise ScenarioError(f"{path}: policy must be 'fcfs' or 'priority', not {settings['policy']!r}")
    return settings


def _read_trace(path: Path, settings: dict[str, Any]) -> tuple[list[Request], list[str]]:
    rows: list[tuple[str, int, tuple[tuple[str, int], ...], list[int], int]] = []
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise TraceError(f"{path}: cannot be read ({error})") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
                prompt = tuple((str(name), int(length)) for name, length in row["prompt"])
                lengths = [length for _, length in prompt] + [int(row["output_len"])]
                if min(lengths) < 1 or int(row["arrival_us"]) < 0:
                    raise ValueError("lengths must be at least 1 and arrival_us at least 0")
                if rows and int(row["arrival_us"]) < rows[-1][1]:
                    raise ValueError("arrival_us is earlier than on the line before; sort the lines by it")
                rows.append((str(row["id"]), int(row["arrival_us"]), prompt, lengths, int(row.get("priority", 0))))
            except (ValueError, KeyError, TypeError) as error:
                raise TraceError(f"{path}, line {number}: not a request ({error!r})") from None
    repeated = {name for _, _, prompt, _, _ in rows for name, _ in prompt}
    requests = []
    for index, (name, arrival, prompt, lengths, priority) in enumerate(rows):
        asked, limit = sum(lengths[:-1]), settings["max_model_len"]
        if asked >= limit:
            raise TraceError(f"{path}: request {name} has {asked} prompt tokens; max_model_len is {limit}")
        requests.append(
            Request(
                index,
                arrival,
                asked,
                min(lengths[-1], limit - asked),
                priority,
                segments=prompt,
                output_name=f"o:{name}" if f"o:{name}" in repeated else None,
            )
        )
    return requests, [row[0] for row in rows]


@dataclass(frozen=True)
class _NamedPriority:
    """vLLM's priority order, which breaks full ties by the request's name."""

    names: list[str]

    def key(self, request: Request) -> tuple[Any, ...]:
        return (request.priority, request.arrival_s, self.names[request.id])

    def victim(self, running: list[Request]) -> Request:
        return max(running, key=lambda request: (request.priority, request.arrival_s))


def _engine(settings: dict[str, Any], names: list[str], group_decodes: bool) -> Engine:
    known = {field.name for field in fields(EngineLimits)}
    limits = EngineLimits(**{key: value for key, value in settings.items() if key in known})
    ordering: Ordering = Fcfs() if settings["policy"] == "fcfs" else _NamedPriority(names)
    return Engine(limits, VllmV1(), ordering, group_decodes)


def _run(
    engine: Engine,
    requests: list[Request],
    names: list[str],
    settings: dict[str, Any],
    first_hits: dict[Request, int],
) -> Iterator[dict[str, Any]]:
    """Decide, launch and land steps; one line per step, when it has landed.

    Synchronous: one step at a time. Asynchronous: as vLLM's EngineCore.step_with_batch_queue with two batches
    in flight; an empty step takes no time, and finished requests bring about one more.
    """
    ahead = 2 if settings["async"] else 1
    now = end = index = arrived = 0
    flushed = True  # the workers know of all finished requests
    flights: list[tuple[StepPlan, list[Request], dict[str, Any], int]] = []
    while flights or arrived < len(requests) or not engine.is_idle or not flushed:
        if engine.is_idle and flushed and not flights:
            now = max(now, int(requests[arrived].arrival_s))
        while arrived < len(requests) and requests[arrived].arrival_s <= now:
            engine.add(requests[arrived])
            arrived += 1
        if not engine.is_idle or not flushed:
            flushed = True
            evicted = engine.kv.evicted_blocks
            plan = engine.schedule()
            dt = _step_time_us(plan, settings)
            line = {"kind": "step", "s": index, "t": now, "dt": dt, **_step_line(engine, plan, names)}
            line |= {"nhash": _distinct_keys(engine), "ev": engine.kv.evicted_blocks - evicted}
            start = max(now, end)
            if settings["async"]:
                line["start"] = start
            end = start + dt
            index += 1
            for request in plan.admitted:
                request.scheduled_s = now
            first_hits |= {r: before for r, _, before in plan.chunks if r in plan.admitted}
            finished = engine.launch(plan)
            for request in plan.sampled:
                if request.generated_tokens == 1:
                    request.first_token_s = end
            flights.append((plan, finished, line, end))
            if not plan.is_empty and len(flights) < ahead:
                continue
        plan, finished, line, now = flights.pop(0)
        engine.land(plan, finished)
        for request in finished:
            request.finish_s = now
        if finished:
            line["fin"] = [names[request.id] for request in finished]
            flushed = not settings["async"]
        line["free2"] = engine.kv.free_blocks
        yield line


def _step_time_us(plan: StepPlan, settings: dict[str, Any]) -> int:
    if plan.is_empty:
        return 0 if settings["async"] else int(settings["t_empty_us"])
    shape = plan.shape()
    prefill = sum(new for new, _ in shape.prefills)
    context = shape.decode_context_tokens + sum(new + before for new, before in shape.prefills)
    return int(
        settings["t_base_us"]
        + settings["t_prefill_tok_us"] * prefill
        + settings["t_decode_req_us"] * shape.decodes
        + context // settings["t_ctx_div"]
    )


def _step_line(engine: Engine, plan: StepPlan, names: list[str]) -> dict[str, Any]:
    alone = {chunk.request: chunk for chunk in plan.chunks}
    tokens = {}
    for request in engine.running:
        if request in alone:
            tokens[names[request.id]] = alone[request].new_tokens
        elif plan.decodes and request not in engine.prefilling and not _is_leaving(request):
            tokens[names[request.id]] = 1
    line: dict[str, Any] = {"n": tokens}
    if plan.admitted or plan.resumed:
        line["adm"] = [names[request.id] for request in plan.admitted]
        line["res"] = [names[request.id] for request in plan.resumed]
        entered = sorted(plan.admitted + plan.resumed, key=lambda request: request.seat)
        line["hit"] = {names[request.id]: alone[request].computed_before for request in entered}
    if plan.preempted:
        line["pre"] = [names[request.id] for request in plan.preempted]
    return line | {"run": len(engine.running), "wait": len(engine.waiting), "free": engine.kv.free_blocks}


def _distinct_keys(engine: Engine) -> int:
    """Distinct block keys that a look-up could find, private ones included."""
    kv = engine.kv
    assert isinstance(kv, PagedKVCache)
    if not kv.prefix_caching:
        return 0
    keys = len(kv.index) + kv.oldest_run_blocks
    keys += sum(entry.blocks for entry in kv.cached if isinstance(entry, CachedRun))
    clock = engine.decoders.clock + (0 if engine.under_way else 1)  # see Engine.schedule_decodes
    for request in engine.running:
        keyed = request.keyed_tokens
        if request not in engine.prefilling and not _is_leaving(request):
            keyed = max(keyed, request.lead + clock)
        keys += keyed // engine.limits.block_size - len(request.blocks)
    return keys


def _is_leaving(request: Request) -> bool:
    return request.generated_tokens == request.output_tokens


def _request_line(request: Request, names: list[str], first_hit: int) -> dict[str, Any]:
    return {
        "kind": "req", "id": names[request.id], "arr": request.arrival_s, "prompt": request.prompt_tokens,
        "out": request.generated_tokens, "prio": request.priority, "first_sched": request.scheduled_s,
        "cached": first_hit, "first_tok": request.first_token_s, "fin": request.finish_s,
        "npre": request.preemptions,
    }  # fmt: skip
