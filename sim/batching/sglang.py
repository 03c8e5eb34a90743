"""SGLang: prompts first, in chunks and in steps of their own; memory is lent on an estimate of answers to come.

A step goes on with the prompt that was cut, and admits from the queue, up to `chunked_prefill_size` tokens; the last
prompt is cut where these end. A request is admitted if its prompt and all of the answer that its client allows fit
into what is free once every decoding request has got a share, the new-token ratio, of what it may still write. The
ratio starts at 0.7, falls with every step of decodes to 0.14 of that within 600 of them, and starts anew when
nothing runs. Whoever is refused for memory closes the batch: nobody is tried before a request has left. Without
prompts, all that decode get a token; if blocks are short, those with the shortest answers (then the longest prompts)
are retracted until the others fit, to be recomputed, and the ratio becomes what the others have used of their
limits, 20 more tokens each allowed for.

Source: SGLang 0.5, python/sglang/srt/managers: scheduler.py, schedule_policy.py (PrefillAdder), schedule_batch.py
(retract_decode), environ.py. There a retracted request goes to the queue's end; here the queue's order decides.
Prefixes are the KV cache's business (SGLang's is `radix`). Mixed chunks (off by default) are not modelled.

    requests: A prompt 6, answer 3; B prompt 4, answer 2; both at the start, chunked_prefill_size 8
    step      0    1    2    3
    A         6         1    1    done after step 3
    B         2    2    1         done after step 2

    requests: A prompt 4, answer 8; B prompt 4, answer 4, comes during step 0; KV for 13 tokens, no answer counted
    step      0    1    2    3    4    5    6    7    8    9
    A         4         1    1    1    1    1    1    1         done after step 8
    B              4    1    1                             7    both want a token more in step 4, and one is left:
                                                                B is retracted, and A's 23 tokens counted
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from sim.batching._shared import (
    asked_tokens,
    decode_all,
    is_decoding,
    is_leaving,
    is_new_head,
    prompts_under_way,
    steady,
    to_go,
)
from sim.engine import Engine
from sim.engine.plan import StepPlan
from sim.request import Request

_FIRST_RATIO, _LEAST_OF_FIRST, _DECAY_STEPS = 0.7, 0.14, 600
_RETRACT_DECODE_STEPS = 20
_LONGEST_COUNTED_ANSWER = 4096


class _State:
    """The ratio before the steps of decodes since a step, and how many ran when the batch was closed."""

    __slots__ = ("closed_at", "ratio", "since")

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio
        self.since = 0
        self.closed_at: int | None = None


@dataclass(frozen=True)
class Sglang:
    """Chunked prompts first, memory lent on an estimate, retraction when the estimate was too low."""

    chunked_prefill_size: Annotated[int, Field(ge=1)] | None = None
    """Tokens of a step of prompts; default: max_num_batched_tokens. E.g. `8192`."""
    max_prefill_tokens: Annotated[int, Field(ge=1)] = 16384
    """Tokens of a step of prompts beyond which nobody is added to the first."""
    schedule_conservativeness: Annotated[float, Field(ge=0)] = 1.0
    """Factor on the ratio."""
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens of answer that clients allow; default: exactly what they will get. E.g. `4096`."""

    decides_ahead: ClassVar[bool] = True

    def plan(self, engine: Engine) -> StepPlan:
        """Decide the next step."""
        plan = StepPlan()
        if engine.policy_state is None or not engine.running:
            engine.policy_state = _State(min(_FIRST_RATIO * self.schedule_conservativeness, 1.0))
            engine.policy_state.since = engine.steps_planned
        state: _State = engine.policy_state
        if state.closed_at is not None and len(engine.running) < state.closed_at:
            state.closed_at = None
        ratio = self._ratio(engine)
        self._read_prompts(engine, plan, ratio)
        if plan.chunks:  # the ratio stands still
            state.ratio, state.since = ratio, engine.steps_planned + 1
        else:
            self._retract(engine, plan)
            decode_all(engine, plan)
        return plan

    def steady_steps(self, engine: Engine, plan: StepPlan) -> int:
        """Until the first is done or blocks run short: while the batch is closed, the ratio does not matter."""
        if engine.leaving and engine.policy_state.closed_at is not None:
            return 1  # it opens when they have left
        return steady(engine)

    def may_disturb(self, engine: Engine, request: Request) -> bool:
        """A new head of the queue may be admitted unless the batch is closed."""
        return is_new_head(engine, request) and (engine.policy_state is None or engine.policy_state.closed_at is None)

    def _ratio(self, engine: Engine) -> float:
        """The ratio now."""
        first = min(_FIRST_RATIO * self.schedule_conservativeness, 1.0)
        least = first * _LEAST_OF_FIRST
        decay = (first - least) / _DECAY_STEPS
        state: _State = engine.policy_state
        return max(state.ratio - decay * (engine.steps_planned - state.since), least)

    def _to_come(self, engine: Engine, request: Request) -> int:
        """Tokens of answer that may still come, as far as they are counted."""
        asked = asked_tokens(engine, request, self.max_new_tokens)
        return min(asked - engine.generated_tokens(request), _LONGEST_COUNTED_ANSWER)

    def _read_prompts(self, engine: Engine, plan: StepPlan, ratio: float) -> None:
        """Go on with the prompt that was cut, then admit."""
        limits, kv, size = engine.limits, engine.kv, engine.limits.block_size
        under_way = prompts_under_way(engine)
        closed = engine.policy_state.closed_at is not None
        if not under_way and (closed or not engine.waiting or not engine.has_seat):
            return
        decoding = [r for r in engine.running if r not in under_way and not is_leaving(r)]
        room = float(kv.free_blocks * size)
        if kv.grows:  # otherwise the room of all answers is taken already
            room -= ratio * sum(self._to_come(engine, request) for request in decoding)
        budget = min(self.chunked_prefill_size or limits.token_budget, limits.token_budget)
        inputs = self.max_prefill_tokens
        for request in under_way:
            new = min(to_go(request), budget)
            if kv.grows:
                spare = kv.blocks_for(request.computed_tokens) * size - request.computed_tokens
                new = min(new, kv.free_blocks * size + spare)
            if new:
                engine.schedule_chunk(request, new, plan)
                budget, inputs = budget - new, inputs - new
                room -= kv.blocks_for(new) * size + size + self._to_come(engine, request) * (not to_go(request))
        while budget > 0 and inputs > 0 and engine.waiting and engine.has_seat and not closed:
            request = engine.waiting.head
            hit = kv.lookup(request)
            new = request.known_tokens - hit.tokens
            room -= hit.evictable_blocks * size
            to_come = self._to_come(engine, request) if kv.grows else 0
            has_room = new + to_come < room and kv.can_admit(request, hit, hit.tokens + min(new, budget), 0)
            if not has_room and engine.running:
                engine.policy_state.closed_at = len(engine.running)
                return
            if plan.chunks and kv.blocks_for(new) * size > inputs:
                return
            cut = new > budget
            new = (budget // size * size or budget) if cut else new
            engine.admit(request, hit, new, plan)
            if cut:
                return
            budget, inputs = budget - new, inputs - new
            room -= kv.blocks_for(new) * size + size + to_come

    def _retract(self, engine: Engine, plan: StepPlan) -> None:
        """Take the blocks of requests, those with the shortest answers first, until the others can decode."""
        kv, group = engine.kv, engine.decoders
        one_more = [r for r in engine.prefilling if is_decoding(r) and kv.growth_blocks(r, 1)]
        if len(one_more) + (group.blocks_needed if group.size else 0) <= kv.free_blocks:
            return
        engine.dissolve_decoders(plan)
        order = [request for request in engine.prefilling if is_decoding(request)]
        order.sort(key=lambda request: (request.generated_tokens, -request.prompt_tokens), reverse=True)
        while sum(kv.growth_blocks(request, 1) for request in order) > kv.free_blocks:
            engine.preempt(order.pop(), plan)
        state: _State = engine.policy_state
        used = sum(request.generated_tokens for request in order) + _RETRACT_DECODE_STEPS * len(order)
        asked = sum(asked_tokens(engine, request, self.max_new_tokens) for request in order)
        state.ratio, state.since = min(1.0, used / (asked + 1)), engine.steps_planned + 1
        state.closed_at = None
