"""Sarathi-Serve: every request that decodes gets its token; prompts fill up the rest of the step in chunks.

A step has `chunk_tokens` tokens. All decodes come first, then the prompts under way in order of admission, then new
ones, each as far as tokens are left. A request is admitted when blocks for its whole prompt can be had (the
watermark stays free), and these are its own from then on. A decoding request that sees no free block, needed or not,
makes the latest give up theirs. The two halves of the idea can be switched off, as in the paper's ablation: without
`hybrid` steps hold either prompts (those under way, or else new ones) or decodes, in turns; without `chunked`
prompts are whole.

Source: Agrawal et al., Sarathi-Serve, OSDI 2024, Algorithm 3 and Table 4; of its code, sarathi_scheduler.py, and
simple_chunking_scheduler.py for the turns. Unlike there nobody is admitted in a step that preempts, and a turn with
nothing to do is left out.

    requests: A prompt 6, answer 3; B prompt 4, answer 2; both at the start, chunk_tokens 4
    step                0    1    2    3    4
    A                   4    2    1    1         done after step 3
    B                        2    2    1         done after step 3
    hybrid: false   A   4    2    1         1    done after step 4
                    B                  4    1    done after step 4
    chunked: false  A   6    1    1              done after step 2
                    B   4    1                   done after step 1
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from sim.batching._shared import (
    admit_whole,
    decode_all,
    fits,
    is_new_head,
    promised_blocks,
    prompts_under_way,
    steady,
    to_go,
)
from sim.engine import Engine
from sim.engine.plan import StepPlan
from sim.request import Request

_LEAST_FREE_BLOCKS = 1


@dataclass(frozen=True)
class Sarathi:
    """Chunked prefill behind the decodes of the same step; either half can be left out."""

    chunk_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens of a step with chunks; default: max_num_batched_tokens. E.g. `512`."""
    hybrid: bool = True
    """Prompts and decodes share steps; otherwise they take turns."""
    chunked: bool = True
    """Split prompts over steps."""

    decides_ahead: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("watermark",)

    @property
    def whole_prompts(self) -> bool:
        """Without chunks the longest prompt must fit into one step."""
        return not self.chunked

    def plan(self, engine: Engine) -> StepPlan:
        """Decide the next step."""
        plan = StepPlan()
        if self.hybrid:
            decode_all(engine, plan, _LEAST_FREE_BLOCKS)
            if not plan.preempted:
                self._read_prompts(engine, plan)
            return plan
        after_prompts = engine.policy_state == "prompts"
        engine.policy_state = "decodes"
        if after_prompts:
            decode_all(engine, plan, _LEAST_FREE_BLOCKS)
        if plan.is_empty and not plan.preempted:
            self._read_prompts(engine, plan)
            engine.policy_state = "no prompts" if plan.is_empty else "prompts"
            if plan.is_empty and not after_prompts:
                decode_all(engine, plan, _LEAST_FREE_BLOCKS)
        return plan

    def steady_steps(self, engine: Engine, plan: StepPlan) -> int:
        """Until the first is done or blocks run short; a head of the queue that was refused stays refused."""
        if not self.hybrid and engine.waiting and engine.policy_state == "decodes":
            return 1
        return steady(engine, _LEAST_FREE_BLOCKS)

    def may_disturb(self, engine: Engine, request: Request) -> bool:
        """A new head of the queue may find a seat."""
        return is_new_head(engine, request)

    def _read_prompts(self, engine: Engine, plan: StepPlan) -> None:
        """Schedule prompts: those under way, then new ones, as far as tokens are left."""
        limits = engine.limits
        budget = limits.token_budget - plan.tokens
        if not self.chunked:
            admit_whole(engine, plan, budget)
            return
        budget = min(budget, (self.chunk_tokens or limits.token_budget) - plan.tokens)
        under_way = prompts_under_way(engine)
        for request in under_way:
            if budget > 0:
                new = min(to_go(request), budget)
                engine.schedule_chunk(request, new, plan)
                budget -= new
        if under_way and not self.hybrid:
            return
        while budget > 0 and engine.waiting and engine.has_seat:
            request = engine.waiting.head
            hit = engine.kv.lookup(request)
            if not fits(engine, request, hit, request.known_tokens, promised_blocks(engine)):
                return
            new = min(request.known_tokens - hit.tokens, budget)
            engine.admit(request, hit, new, plan)
            budget -= new
