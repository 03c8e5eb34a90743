"""TensorRT-LLM: in-flight batching under one of two promises about memory.

A step holds one token of every request that decodes and the prompts of those admitted, first come first served, up
to `max_num_seqs` requests and `max_num_batched_tokens` tokens. `guaranteed_no_evict` admits a request if the blocks
that it and all that run may need to their ends can be had: nobody ever loses his. `max_utilization` admits it if its
prompt's blocks can be had; when a running request then finds none, the latest is paused, to be recomputed. With
`enable_chunked_context` prompts are cut where the tokens end, at whole blocks; without it a prompt that does not fit
waits, and all behind it, and one that fits no step is rejected. (Under `max_utilization` steps must hold the longest
sequence here, for who is paused comes back with its answer.)

Source: TensorRT-LLM 1.0, cpp/tensorrt_llm/batch_manager: capacityScheduler.cpp, microBatchScheduler.cpp (chunks
first come first served). There a request whose first new block is just being computed by another waits a step to
reuse it; here it reuses it at once. Equal progress of chunks and static batches (see `static`) are not modelled.

    requests: A prompt 4, answer 3; B prompt 5, answer 2; both at the start; KV for 9 tokens, blocks of 1
    step                        0    1    2    3    4
    guaranteed_no_evict    A    4    1    1              each ends with 6 tokens: no room for both
                           B                   5    1
    max_utilization        A    4    1    1              both prompts fit; B is paused in step 1
                           B    5              6
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from sim.batching._shared import (
    blocks_to_end,
    decode_all,
    fits,
    is_new_head,
    promised_blocks,
    prompts_under_way,
    reserved_blocks,
    steady,
    to_go,
)
from sim.engine import Engine
from sim.engine.plan import StepPlan
from sim.kvcache.protocol import Hit
from sim.request import Request


@dataclass(frozen=True)
class TensorrtLlm:
    """In-flight batching: decodes and prompts share steps."""

    capacity_scheduler_policy: Literal["guaranteed_no_evict", "max_utilization"] = "guaranteed_no_evict"
    """What an admission asks of the memory."""
    enable_chunked_context: bool = False
    """Split prompts over steps."""
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens of answer that clients allow; default: exactly what they will get. E.g. `4096`."""

    decides_ahead: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("watermark",)

    @property
    def whole_prompts(self) -> bool:
        """Without chunks the longest prompt must fit into one step."""
        return not self.enable_chunked_context

    @property
    def promises_answers(self) -> bool:
        """Nobody is admitted without memory for all of the answer."""
        return self.capacity_scheduler_policy == "guaranteed_no_evict"

    @property
    def refuses_long_prompts(self) -> bool:
        """Without chunks, prompts of more tokens than a step are answered with an error."""
        return self.whole_prompts and self.capacity_scheduler_policy == "guaranteed_no_evict"

    def plan(self, engine: Engine) -> StepPlan:
        """Decide the next step."""
        plan = StepPlan()
        decode_all(engine, plan)
        budget = engine.limits.token_budget - plan.tokens
        for request in prompts_under_way(engine):
            new = self._cut(engine, to_go(request), budget)
            if new:
                engine.schedule_chunk(request, new, plan)
                budget -= new
        while not plan.preempted and engine.waiting and engine.has_seat:
            request = engine.waiting.head
            hit = engine.kv.lookup(request)
            new = self._cut(engine, request.known_tokens - hit.tokens, budget)
            if not new or not self._may_enter(engine, plan, request, hit):
                break
            engine.admit(request, hit, new, plan)
            budget -= new
        return plan

    def steady_steps(self, engine: Engine, plan: StepPlan) -> int:
        """Until the first is done or blocks run short; the queue's head stays refused till then."""
        return steady(engine)

    def may_disturb(self, engine: Engine, request: Request) -> bool:
        """A new head of the queue may find a seat."""
        return is_new_head(engine, request)

    def _cut(self, engine: Engine, tokens: int, budget: int) -> int:
        """How many of a prompt's tokens the step computes."""
        if tokens <= budget or not self.enable_chunked_context:
            return tokens if tokens <= budget else 0
        unit = min(engine.limits.block_size, engine.limits.token_budget)
        return budget // unit * unit

    def _may_enter(self, engine: Engine, plan: StepPlan, request: Request, hit: Hit) -> bool:
        """Whether the memory that was promised and what the request needs can be had."""
        if self.capacity_scheduler_policy == "max_utilization":
            return fits(engine, request, hit, request.known_tokens, promised_blocks(engine))
        if not engine.kv.can_admit(request, hit, request.known_tokens, 0):
            return False
        needed = blocks_to_end(engine, request, self.max_new_tokens) - hit.blocks + hit.evictable_blocks
        return needed + reserved_blocks(engine, plan, self.max_new_tokens) <= engine.kv.free_blocks
