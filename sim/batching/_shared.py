"""What batching policies have in common: which blocks can be had, who decodes, and who makes room."""

from sim.engine import Engine
from sim.engine.plan import StepPlan
from sim.kvcache.protocol import Hit
from sim.request import Request


def to_go(request: Request) -> int:
    """Known tokens that are still to be computed."""
    return request.known_tokens - request.computed_tokens


def is_leaving(request: Request) -> bool:
    """Whether its last token is under way, or there already."""
    return request.generated_tokens == request.output_tokens


def is_decoding(request: Request) -> bool:
    """Whether it only has its newest token to compute."""
    return request.computed_tokens >= request.prompt_tokens and to_go(request) == 1


def prompts_under_way(engine: Engine) -> list[Request]:
    """Running requests whose prompts (after a preemption, with the answer so far) are not all computed."""
    return [request for request in engine.prefilling if to_go(request) and not is_decoding(request)]


def promised_blocks(engine: Engine) -> int:
    """Blocks that prompts under way will still take: their whole prompts were admitted."""
    growth_blocks = engine.kv.growth_blocks
    return sum(growth_blocks(request, to_go(request)) for request in prompts_under_way(engine))


def fits(engine: Engine, request: Request, hit: Hit, tokens: int, promised: int = 0) -> bool:
    """Whether blocks for a waiting request's first `tokens` tokens, those found included, can be had now.

    `promised` blocks are others' already; the watermark stays free while others run.
    """
    if engine.running:
        promised += engine.limits.watermark_blocks
    return engine.kv.can_admit(request, hit, tokens, promised)


def decode_all(engine: Engine, plan: StepPlan, least_free: int = 0) -> None:
    """Schedule one token for every decoding request; while blocks are short, the latest give up theirs.

    A request gets its token only if it sees `least_free` free blocks, needed or not, as in engines that do not
    look whether its last block is full.
    """
    group, growth_blocks = engine.decoders, engine.kv.growth_blocks
    least_free = least_free if engine.kv.grows else 0
    free = engine.kv.free_blocks - promised_blocks(engine)
    alone = [request for request in engine.prefilling if is_decoding(request)]
    if engine.group_decodes:
        needed = group.blocks_needed if group.size else 0
        needed += sum(growth_blocks(request, 1) for request in alone)
        if needed + least_free <= free:
            if group.size:
                engine.schedule_decodes(plan)
            for request in alone:
                engine.schedule_chunk(request, 1, plan)
            return
    engine.dissolve_decoders(plan)
    order = [request for request in engine.running if not is_leaving(request)]
    promised = promised_blocks(engine)
    position = 0
    while position < len(order):
        request = order[position]
        position += 1
        if not is_decoding(request):
            continue
        needed = max(growth_blocks(request, 1), least_free)
        while needed > engine.kv.free_blocks - promised:
            victim = engine.ordering.victim(order[position - 1 :])  # nobody loses a token that it was given
            order.remove(victim)
            engine.preempt(victim, plan)
            promised = promised_blocks(engine)
            if victim is request:
                position -= 1
                break
        else:
            engine.schedule_chunk(request, 1, plan)


def steady(engine: Engine, least_free: int = 0) -> int:
    """Decode steps until the first is done or `decode_all` runs short of blocks, the planned one included."""
    group = engine.decoders
    least_free = least_free if engine.kv.grows else 0
    # The first step's blocks are taken already, so its place in the count is free of charge.
    free = engine.kv.free_blocks + group.blocks_needed - least_free
    return max(1, group.ticks_within(free, group.ticks_to_finish)) if free >= 0 else 1


def is_new_head(engine: Engine, request: Request) -> bool:
    """Whether a request that just joined the queue is next, and a seat is left: nobody behind it matters."""
    return engine.has_seat and engine.waiting.head is request


def admit_whole(engine: Engine, plan: StepPlan, budget: int) -> None:
    """Admit from the queue's head, each with all its known tokens, until seats, tokens or blocks run out."""
    while engine.waiting and engine.has_seat:
        request = engine.waiting.head
        hit = engine.kv.lookup(request)
        new = request.known_tokens - hit.tokens
        if new > budget or not fits(engine, request, hit, request.known_tokens):
            return
        engine.admit(request, hit, new, plan)
        budget -= new


def asked_tokens(engine: Engine, request: Request, max_new_tokens: int | None) -> int:
    """Tokens of answer that a client allows: `max_new_tokens`, cut at the context's end; or what it will get."""
    room = engine.limits.max_model_len - request.prompt_tokens
    return max(min(max_new_tokens or 0, room), request.output_tokens)


def blocks_to_end(engine: Engine, request: Request, max_new_tokens: int | None) -> int:
    """Blocks that a request holds when it has all the answer that its client allows; the last token needs none."""
    if not engine.kv.grows:
        return engine.kv.whole_blocks(request)
    return engine.kv.blocks_for(request.prompt_tokens + asked_tokens(engine, request, max_new_tokens) - 1)


def reserved_blocks(engine: Engine, plan: StepPlan, max_new_tokens: int | None) -> int:
    """Free blocks that running requests will still take, after this step, until their clients' limits."""
    if not engine.kv.grows:
        return 0
    blocks = 0
    for request in engine.running:
        if not is_leaving(request):
            computed = request.computed_tokens
            if request not in engine.prefilling:
                computed = request.lead + engine.decoders.clock + (plan.decodes > 0)
            blocks += blocks_to_end(engine, request, max_new_tokens) - engine.kv.blocks_for(computed)
    return blocks
