"""Triton's dynamic batcher: a batch of a preferred size at once, any other after a delay; then as static batching.

When nothing runs, the largest preferred size that the queue can fill is run. If there is none, the replica waits
until there is, or until the first in the queue has waited `max_queue_delay`; then all that wait are run. Without
preferred sizes the one preferred is `max_num_seqs` (Triton's max_batch_size). The batch runs as a whole: nobody
joins, and finished members are padding (see _fixed_batch.py).

Source: Triton Inference Server, user guide, "Dynamic Batcher": preferred_batch_size, max_queue_delay_microseconds.

    requests: A prompt 4, answer 2; B prompt 2, answer 1; C prompt 3, answer 1, comes during step 0; sizes [2]
    step      0    1    2
    A         4    1           done after step 1
    B         2    p           done after step 0, and p for padding: computed for nobody
    C                   3      alone, so after the delay

    in time: requests of prompt 2, answer 2 at 0, 1, 2 and 9 s; steps of 1 s; sizes [2], delay 3 s
    0 s   one waits
    1 s   a second comes: a batch of 2, until 3 s
    3 s   the one of 2 s waits until 5 s, alone: a batch of 1, until 7 s
    9 s   one waits until 12 s
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
class DynamicWindow:
    """Batches of preferred sizes, or of what has come when the delay is over."""

    preferred_batch_sizes: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Sizes that are run at once (Triton: preferred_batch_size); default: max_num_seqs. E.g. `[4, 8]`."""
    max_queue_delay: Annotated[Seconds, Field(ge=0)] = 0.0
    """How long the first in the queue may be held back (Triton: max_queue_delay_microseconds). E.g. `100ms`."""
    pad_prompts: bool = True
    """Fill prompts up to the longest of the batch."""

    whole_prompts: ClassVar[bool] = True
    keeps_finished: ClassVar[bool] = True

    def plan(self, engine: Engine) -> StepPlan:
        """Decide the next step."""
        plan = StepPlan()
        if engine.running:
            decode_batch(engine, plan, self.pad_prompts)
        elif engine.waiting:
            most = engine.limits.max_num_seqs
            sizes = [min(size, most) for size in self.preferred_batch_sizes] or [most]
            ready = [size for size in sizes if size <= len(engine.waiting)]
            if ready or engine.window_over:
                start_batch(engine, plan, max(ready, default=most), self.pad_prompts)
            else:
                plan.hold = (oldest(engine), self.max_queue_delay)
        return plan

    def steady_steps(self, engine: Engine, plan: StepPlan) -> int:
        """Until the next member is done."""
        return steady(engine)

    def may_disturb(self, engine: Engine, request: Request) -> bool:
        """Nobody joins."""
        return False
