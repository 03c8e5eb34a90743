"""Batches that are made once and run to their longest answer: nobody joins, and a finished member keeps its place.

A finished member's row goes on being computed, one token a step, and its blocks stay taken until the batch ends;
its answer has been sent. With `pad_prompts` every prompt is filled up to the longest of the batch, so that its step
computes batch x longest tokens and every later step attends to that much more.
"""

from sim.batching._shared import decode_all
from sim.engine import Engine
from sim.engine.plan import StepPlan
from sim.request import Request


def oldest(engine: Engine) -> Request:
    """The request that has waited longest."""
    return min(engine.waiting, key=lambda request: (request.arrival_s, request.id))


def start_batch(engine: Engine, plan: StepPlan, size: int, pad_prompts: bool) -> None:
    """Admit up to `size` requests from the queue's head, as many as fit to their ends.

    The batch is cut where its prompts, padded or not, exceed the step's tokens, or its prompts and answers the
    free blocks. The first is always admitted.
    """
    limits = engine.limits
    free = engine.kv.free_blocks
    longest = total = 0
    while engine.waiting and len(engine.running) < min(size, limits.max_num_seqs):
        request = engine.waiting.head
        free -= engine.kv.whole_blocks(request)
        longest, total = max(longest, request.known_tokens), total + request.known_tokens
        rows = longest * (len(engine.running) + 1) if pad_prompts else total
        if engine.running and (free < 0 or rows > limits.token_budget):
            break
        hit = engine.kv.lookup(request)
        engine.admit(request, hit, request.known_tokens - hit.tokens, plan)
    if pad_prompts:
        plan.padded_prompt_tokens = max(chunk.new_tokens for chunk in plan.chunks)
    engine.policy_state = engine.steps_planned


def decode_batch(engine: Engine, plan: StepPlan, pad_prompts: bool) -> None:
    """One token for every member, the finished ones included."""
    decode_all(engine, plan)
    kept = engine.kept
    plan.padding_decodes = len(kept)
    grown = engine.steps_planned - engine.policy_state  # tokens behind each prompt that this step attends to
    if not pad_prompts:
        plan.padding_context_tokens = sum(request.prompt_tokens for request in kept) + len(kept) * grown
        return
    context = plan.decode_context_tokens + sum(chunk.computed_before + 1 for chunk in plan.chunks)
    longest = max(request.prompt_tokens for request in engine.running)
    plan.padding_context_tokens = max(len(engine.running) * (longest + grown) - context, 0)  # less: one was sent on
