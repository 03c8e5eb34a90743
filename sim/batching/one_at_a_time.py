"""No batching: one request from its prompt to its last token, then the next.

The rule of a plain loop around a model's `generate` with batch size one.

    requests: A prompt 4, answer 3; B prompt 2, answer 2; both at the start
    step      0    1    2    3    4
    A         4    1    1                 tokens computed; done after step 2
    B                        2    1       done after step 4
"""

from dataclasses import dataclass
from typing import ClassVar

from sim.batching._shared import decode_all, steady
from sim.engine import Engine
from sim.engine.plan import StepPlan
from sim.request import Request


@dataclass(frozen=True)
class OneAtATime:
    """One request at a time, its prompt in one step."""

    decides_ahead: ClassVar[bool] = True
    whole_prompts: ClassVar[bool] = True

    def plan(self, engine: Engine) -> StepPlan:
        """Decide the next step."""
        plan = StepPlan()
        if engine.running:
            decode_all(engine, plan)
        elif engine.waiting:
            request = engine.waiting.head
            hit = engine.kv.lookup(request)
            engine.admit(request, hit, request.known_tokens - hit.tokens, plan)
        return plan

    def steady_steps(self, engine: Engine, plan: StepPlan) -> int:
        """Until it is done."""
        return steady(engine)

    def may_disturb(self, engine: Engine, request: Request) -> bool:
        """Nobody else gets in."""
        return False
