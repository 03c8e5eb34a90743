"""Static batching: wait for a full batch, or a time-out, and run it until its longest answer is done.

The rule of a loop around `generate`, and of FasterTransformer: while a batch runs nobody joins it. Members whose
answers are done go on being computed as padding, and their seats and blocks are free only when the batch ends
(see _fixed_batch.py). Answers are streamed, so a request is finished with its own last token. When nothing runs and
fewer than `batch_size` requests wait, the replica waits until there are so many, or until the first of them has
waited `timeout`.

Source: the baselines of Yu et al., Orca, OSDI 2022, section 3 (request-level batching).

    requests: A prompt 4, answer 3; B prompt 2, answer 1; C prompt 3, answer 1; at the start, batch_size 2
    step      0    1    2    3
    A         4    1    1           done after step 2
    B         2    p    p           done after step 0, and p for padding: computed for nobody
    C                        3      alone at the end, so after the time-out; done after step 3
    with pad_prompts step 0 computes 4 + 4 tokens, 2 of them padding
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from sim.batching._fixed_batch import decode_batch, oldest, start_batch
from sim.batching._shared import steady
from sim.engine import Engine
from sim.engine.plan import StepPlan
from sim.quantity import Seconds
from sim.request import Request


@dataclass(frozen=True)
class Static:
    """Batches of a fixed size that run to their longest answer."""

    batch_size: Annotated[int, Field(ge=1)] = 8
    """Requests of a batch; max_num_seqs is a limit to it."""
    timeout: Annotated[Seconds, Field(ge=0)] = 1.0
    """How long the first of a batch waits for the others."""
    pad_prompts: bool = True
    """Fill prompts up to the longest of the batch."""

    whole_prompts: ClassVar[bool] = True
    keeps_finished: ClassVar[bool] = True

    def plan(self, engine: Engine) -> StepPlan:
        """Decide the next step."""
        plan = StepPlan()
        size = min(self.batch_size, engine.limits.max_num_seqs)
        if engine.running:
            decode_batch(engine, plan, self.pad_prompts)
        elif len(engine.waiting) >= size or engine.window_over:
            start_batch(engine, plan, size, self.pad_prompts)
        elif engine.waiting:
            plan.hold = (oldest(engine), self.timeout)
        return plan

    def steady_steps(self, engine: Engine, plan: StepPlan) -> int:
        """Until the next member is done."""
        return steady(engine)

    def may_disturb(self, engine: Engine, request: Request) -> bool:
        """Nobody joins."""
        return False
