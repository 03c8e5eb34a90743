"""The serving loop: arrivals by the clock, decisions by the simulator's engine, tokens by the runner."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate.reference_engine.clock import Clock, clock_for
from calibrate.reference_engine.log import RequestRow, ServingLog, StepRow
from calibrate.reference_engine.runner import PassTimes, Runner
from sim.engine import Batching, Engine, EngineLimits, Ordering
from sim.engine.plan import StepPlan
from sim.errors import ServecastError
from sim.models import BatchShape
from sim.request import Request


class _Step(NamedTuple):
    """What the loop notes of a step; to words it comes when the serving is over."""

    start_s: float
    end_s: float
    times: PassTimes
    plan: StepPlan
    running: int
    waiting: int
    used_blocks: int
    finished: list[Request]


def serve(
    requests: Sequence[Request],
    runner: Runner,
    limits: EngineLimits,
    batching: Batching,
    ordering: Ordering,
    seed: int = 0,
    clock: Clock | None = None,
) -> ServingLog:
    """Serve the requests, given in the order of their `arrival_s`, as time passes, one step after the other.

    Prompts are random tokens that follow from `seed` and the request's id. clock: default is the device's,
    which begins when serving does. Raises ServecastError for a
    request longer than `max_model_len` or than the KV cache, and for prefix caching, which the runner does
    not have.
    """
    _check(requests, limits)
    if runner.tables.usable_blocks != limits.num_gpu_blocks - 1:
        raise AssertionError(f"the runner has {runner.tables.usable_blocks + 1} blocks, not {limits.num_gpu_blocks}")
    for request in requests:
        runner.add(request, prompt(request, runner.transformer.model.vocab, seed))
    engine = Engine(limits, batching, ordering, group_decodes=False)
    with _no_garbage_collection():
        steps, answers = _loop(requests, engine, runner, clock or clock_for(runner.device))
    shapes = [_shape(step.plan) for step in steps]
    return ServingLog(
        [_row(step, shape) for step, shape in zip(steps, shapes, strict=True)],
        shapes,
        [RequestRow.of(request) for request in requests],
        [answers[request] for request in requests],
    )


def prompt(request: Request, vocabulary: int, seed: int = 0) -> NDArray[np.int64]:
    """The random tokens of a request's prompt."""
    return np.random.default_rng([seed, request.id]).integers(vocabulary, size=request.prompt_tokens)


def _check(requests: Sequence[Request], limits: EngineLimits) -> None:
    if limits.enable_prefix_caching:
        raise ServecastError("the reference engine has no prefix cache; set enable_prefix_caching: false")
    for request in requests:
        longest = request.prompt_tokens + request.output_tokens
        if longest > limits.max_model_len:
            raise ServecastError(
                f"request {request.id} has {longest} tokens, prompt and output, and the reference engine "
                f"cuts nothing off; raise engine.max_model_len, which is {limits.max_model_len}"
            )


def _loop(
    requests: Sequence[Request], engine: Engine, runner: Runner, clock: Clock
) -> tuple[list[_Step], dict[Request, list[int]]]:
    """A step starts when the one before it ended, or an arrival found it idle, and sees the arrivals so far.

    So the steps' durations leave no gap, and a simulation that is given them must come to the same decisions.
    """
    steps: list[_Step] = []
    answers: dict[Request, list[int]] = {}
    arrived = 0
    now_s = 0.0
    while arrived < len(requests) or not engine.is_idle:
        if engine.is_idle and requests[arrived].arrival_s > now_s:
            now_s = requests[arrived].arrival_s
            clock.wait_until(now_s)
        while arrived < len(requests) and requests[arrived].arrival_s <= now_s:
            engine.add(requests[arrived])
            arrived += 1
        start_s = now_s
        plan = engine.schedule()
        running, waiting, used_blocks = len(engine.running), len(engine.waiting), engine.kv.used_blocks
        times = runner.step(plan)
        if runner.tables.used_blocks != used_blocks:
            raise AssertionError(f"INV-2: {used_blocks} blocks counted, {runner.tables.used_blocks} held")
        finished = engine.complete(plan)
        for request in finished:
            answers[request] = runner.finish(request)
        now_s = clock.now_s()
        for request in plan.sampled:
            if request.generated_tokens == 1:
                request.first_token_s = now_s
        for request in finished:
            request.finish_s = now_s
        steps.append(_Step(start_s, now_s, times, plan, running, waiting, used_blocks, finished))
    return steps, answers


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep the collector out of the steps' times, as serving engines do."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _shape(plan: StepPlan) -> BatchShape:
    """`StepPlan.shape` of a completed plan, whose requests have moved on since."""
    decodes = context = 0
    prefills = []
    for request, new, before in plan.chunks:
        if new == 1 and before >= request.prompt_tokens:
            decodes += 1
            context += before + 1
        else:
            prefills.append((new, before))
    return BatchShape(prefills, decodes, context, len(plan.sampled))


def _row(step: _Step, shape: BatchShape) -> StepRow:
    plan = step.plan
    return StepRow(
        start_s=step.start_s,
        end_s=step.end_s,
        device_s=step.times.device_s,
        launch_s=step.times.launch_s,
        prefills=len(shape.prefills),
        prefill_tokens=sum(new for new, _ in shape.prefills),
        decodes=shape.decodes,
        decode_context_tokens=shape.decode_context_tokens,
        sampled=shape.sampled,
        running=step.running,
        waiting=step.waiting,
        kv_used_blocks=step.used_blocks,
        work=" ".join(f"{request.id}:{new}@{before}" for request, new, before in plan.chunks),
        preempted=" ".join(str(request.id) for request in plan.preempted),
        finished=" ".join(str(request.id) for request in step.finished),
    )
