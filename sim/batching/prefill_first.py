"""vLLM V0: steps of whole prompts come first, steps of decodes only when no prompt can be admitted.

A step admits waiting requests in order, each with its whole prompt, while seats, `max_num_batched_tokens` and
blocks last (the watermark stays free). If it admitted any, that is the step, and all that decode wait. Otherwise
every running request gets a token. One that sees no free block, needed or not, makes the latest give up theirs;
those are recomputed, the answer so far included, when they are admitted again, which is before anybody else.

Source: vllm/core/scheduler.py and block_manager.py of vLLM 0.6.x, `_schedule_default`. V0 never admits a prompt that
the watermark forbids; here a lone request may use all blocks. Swapping is left to the KV cache's settings.

    requests: A prompt 4, answer 4; B prompt 5, answer 2, comes during step 0
    step      0    1    2    3    4
    A         4         1    1    1     stalls while B's prompt is read
    B              5    1               done after step 2
"""

from dataclasses import dataclass
from typing import ClassVar

from sim.batching._shared import admit_whole, decode_all, is_new_head, steady
from sim.engine import Engine
from sim.engine.plan import StepPlan
from sim.request import Request

_LEAST_FREE_BLOCKS = 1
"""V0 asks for one free block for each sequence of a decode step."""


@dataclass(frozen=True)
class PrefillFirst:
    """Whole prompts first, in steps of their own; then decodes."""

    decides_ahead: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("watermark",)
    whole_prompts: ClassVar[bool] = True

    def plan(self, engine: Engine) -> StepPlan:
        """Decide the next step."""
        plan = StepPlan()
        admit_whole(engine, plan, engine.limits.token_budget)
        if not plan.chunks:
            decode_all(engine, plan, _LEAST_FREE_BLOCKS)
        return plan

    def steady_steps(self, engine: Engine, plan: StepPlan) -> int:
        """Until the first is done or blocks run short; the queue's head stays refused till then."""
        return steady(engine, _LEAST_FREE_BLOCKS)

    def may_disturb(self, engine: Engine, request: Request) -> bool:
        """A new head of the queue may find a seat."""
        return is_new_head(engine, request)
