"""Orca: iteration-level scheduling, whole prompts mixed with decodes.

Every step holds one token of every request that decodes, and the whole prompts of those admitted to it, first come
first served, up to `max_num_seqs` requests and `max_num_batched_tokens` tokens. A long prompt thus delays the next
token of all that decode with it. Orca admits a request only if room for its longest answer is left, so that nobody
is ever preempted; that is a matter of the KV cache here (reserve at `max_model_len`). Over paged blocks a request
that finds none is preempted and recomputed.

Source: Yu et al., Orca, OSDI 2022, Algorithm 1; the token limit is that of the buffers, not of the paper.

    requests: A prompt 4, answer 3; B prompt 5, answer 2; C prompt 2, answer 1; at the start, two seats
    step      0    1    2    3
    A         4    1    1         done after step 2
    B         5    1              done after step 1
    C                   2         takes B's seat; done after step 2
"""

from dataclasses import dataclass
from typing import ClassVar

from sim.batching._shared import admit_whole, decode_all, is_new_head, steady
from sim.engine import Engine
from sim.engine.plan import StepPlan
from sim.request import Request


@dataclass(frozen=True)
class Orca:
    """Continuous batching without chunks: decodes and whole prompts share a step."""

    decides_ahead: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("watermark",)
    whole_prompts: ClassVar[bool] = True

    def plan(self, engine: Engine) -> StepPlan:
        """Decide the next step."""
        plan = StepPlan()
        decode_all(engine, plan)
        if not plan.preempted:
            admit_whole(engine, plan, engine.limits.token_budget - plan.tokens)
        return plan

    def steady_steps(self, engine: Engine, plan: StepPlan) -> int:
        """Until the first is done or blocks run short; the queue's head stays refused till then."""
        return steady(engine)

    def may_disturb(self, engine: Engine, request: Request) -> bool:
        """A new head of the queue may find a seat."""
        return is_new_head(engine, request)
