"""vLLM V1: running requests first, then the queue, all under one token budget.

The rules are those of vLLM 0.32's scheduler, synchronous or asynchronous: there is no prefill or decode
phase, each request simply has tokens to go. `_together` schedules the whole running list in a few operations
when nobody can be short of tokens or blocks; `_one_by_one` is the rule itself. Who runs out of blocks preempts the
last of the running list, itself at worst, and nobody is admitted in such a step.

Source: vllm/v1/core/sched/scheduler.py of vLLM 0.32.

    requests: A prompt 6, answer 3; B prompt 5, answer 2; C prompt 2, answer 1; at the start, 8 tokens a step
    step      0    1    2
    A         6    1    1    done after step 2
    B         2    3    1    the tokens that A leaves, then the rest of its prompt; done after step 2
    C              2         the tokens that both leave; done after step 1

    requests: A prompt 7, answer 4; B prompt 7, answer 3; at the start; 4 blocks of 4 tokens
    step      0    1    2    3    4
    A         7    1    1    1         needs a third block in step 2
    B         7    1              9    preempted for it; its prompt and 2 tokens of its answer again
"""

from dataclasses import dataclass
from typing import ClassVar

from sim.batching._shared import fits
from sim.engine import Engine
from sim.engine.plan import StepPlan
from sim.kvcache.protocol import Hit
from sim.request import Request


@dataclass(frozen=True)
class VllmV1:
    """Continuous batching with chunked prefill and preemption by recomputation."""

    schedules_drafts: ClassVar[bool] = True

    decides_ahead: ClassVar[bool] = True
    pipelines: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = (
        "enable_chunked_prefill",
        "long_prefill_token_threshold",
        "long_prefill_token_threshold_adaptive",
        "scheduler_reserve_full_isl",
        "watermark",
    )

    def plan(self, engine: Engine) -> StepPlan:
        """Decide the next step."""
        plan, limits = StepPlan(), engine.limits
        threshold = _prefill_threshold(engine)
        budget = _together(engine, plan, limits.token_budget, threshold) if engine.group_decodes else None
        if budget is None:
            budget = _one_by_one(engine, plan, limits.token_budget, threshold)
        if budget and engine.waiting and not plan.preempted:
            _admit(engine, plan, budget, threshold)
        return plan

    def steady_steps(self, engine: Engine, plan: StepPlan) -> int:
        """Until the first member is done or blocks run short; the queue's head stays refused till then."""
        group = engine.decoders
        # The first tick's blocks are taken already, so its place in the count is free of charge.
        most = group.ticks_to_finish
        spare = engine.kv.free_blocks + group.blocks_needed
        return max(1, group.ticks_within(spare, most))

    def may_disturb(self, engine: Engine, request: Request) -> bool:
        """Only a new head of the queue matters, and only while a seat and a token are left for it.

        With the adaptive threshold any request does: the more there are, the shorter the head's first chunk.
        """
        limits = engine.limits
        if len(engine.running) >= limits.max_num_seqs or engine.decoders.size >= limits.token_budget:
            return False
        return engine.waiting.head is request or limits.long_prefill_token_threshold_adaptive


def _prefill_threshold(engine: Engine) -> int:
    limits = engine.limits
    if not limits.long_prefill_token_threshold and not limits.long_prefill_token_threshold_adaptive:
        return 0
    requests = len(engine.running) + len(engine.waiting)
    threshold = limits.long_prefill_token_threshold if requests > 1 else 0
    if limits.long_prefill_token_threshold_adaptive and requests:
        threshold = max(threshold, limits.max_num_batched_tokens // requests)
    return threshold


def _together(engine: Engine, plan: StepPlan, budget: int, threshold: int) -> int | None:
    """Schedule all running requests at once; return the budget left, or None when order matters."""
    group = engine.decoders
    budget -= group.size
    if budget < 0:
        return None
    blocks = group.blocks_needed if group.size else 0
    chunks = []
    for request in engine.prefilling:
        if group.named and request.seat < group.last_seat:
            return None  # both may fill blocks of the same content, and the first to do so is found first
        new = request.prompt_tokens + request.generated_tokens - request.computed_tokens
        if 0 < threshold < new:
            new = threshold
        if new > budget:
            if group.last_seat > request.seat:
                return None  # a decoding request further back would get nothing
            new = budget
        if not new:
            break
        budget -= new
        blocks += engine.kv.growth_blocks(request, new)
        chunks.append((request, new))
    if blocks > engine.kv.free_blocks:
        return None
    if group.size:
        engine.schedule_decodes(plan)
    for request, new in chunks:
        engine.schedule_chunk(request, new, plan)
    return budget


def _one_by_one(engine: Engine, plan: StepPlan, budget: int, threshold: int) -> int:
    """Walk the running list in order, preempting when blocks run out; return the budget left."""
    engine.dissolve_decoders(plan)
    kv = engine.kv
    running = list(engine.running)
    index = 0
    while index < len(running) and budget:
        request = running[index]
        if request.generated_tokens == request.output_tokens:  # its last token is under way
            index += 1
            continue
        new = request.known_tokens + request.draft_tokens - request.computed_tokens
        if 0 < threshold < new:
            new = threshold
        new = min(new, budget, engine.limits.max_model_len - request.computed_tokens - 1)
        if not new:
            index += 1
            continue
        needed = kv.growth_blocks(request, new)
        while needed > kv.free_blocks:
            victim = engine.ordering.victim(running)
            position = running.index(victim)
            del running[position]
            index -= position < index
            budget += engine.preempt(victim, plan)
            if victim is request:
                return budget
        engine.schedule_chunk(request, new, plan)
        budget -= new
        index += 1
    return budget


def _admit(engine: Engine, plan: StepPlan, budget: int, threshold: int) -> None:
    """Admit from the queue's head until tokens, seats or blocks run out; nobody overtakes."""
    limits = engine.limits
    while budget and engine.waiting and len(engine.running) < limits.max_num_seqs:
        request = engine.waiting.head
        hit = engine.kv.lookup(request)
        new = request.known_tokens - hit.tokens
        if 0 < threshold < new:
            new = threshold
        if new > budget:
            if not limits.enable_chunked_prefill:
                return
            new = budget
        if not _has_blocks(engine, request, hit, new):
            return
        engine.admit(request, hit, new, plan)
        budget -= new


def _has_blocks(engine: Engine, request: Request, hit: Hit, new_tokens: int) -> bool:
    """Whether the step's blocks, and the whole known sequence's if so set, could be had now."""
    limits = engine.limits
    tokens = hit.tokens + new_tokens
    if limits.scheduler_reserve_full_isl:
        tokens = max(tokens, min(request.known_tokens, limits.max_model_len))
    return fits(engine, request, hit, tokens)
