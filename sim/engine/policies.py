"""What an engine is given: its limits, and the protocols of what decides for it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from sim.engine.plan import StepPlan
from sim.engine.waiting import WaitingQueue
from sim.kvcache.protocol import KVRoom
from sim.request import Request

if TYPE_CHECKING:
    from sim.engine.core import Engine


@dataclass(frozen=True)
class EngineLimits:
    """What bounds a step and the memory, under vLLM's names (its SchedulerConfig and CacheConfig).

    `num_gpu_blocks` counts vLLM's null block, so one less can be used.
    """

    num_gpu_blocks: int
    max_model_len: int
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    max_num_scheduled_tokens: int | None = None
    enable_chunked_prefill: bool = True
    long_prefill_token_threshold: int = 0
    long_prefill_token_threshold_adaptive: bool = False
    block_size: int = 16
    enable_prefix_caching: bool = True
    watermark: float = 0.0
    scheduler_reserve_full_isl: bool = True

    @property
    def token_budget(self) -> int:
        """Tokens that one step may compute."""
        return self.max_num_scheduled_tokens or self.max_num_batched_tokens

    @property
    def watermark_blocks(self) -> int:
        """Blocks that an admission must leave free while others run."""
        return int(self.watermark * self.num_gpu_blocks)

    @property
    def kv_room(self) -> KVRoom:
        """What the KV cache has to divide."""
        return KVRoom(self.num_gpu_blocks - 1, self.block_size, self.max_model_len, self.enable_prefix_caching)


class Ordering(Protocol):
    """In which order waiting requests are admitted, and who loses its blocks when they run out."""

    def key(self, request: Request) -> tuple[float, ...]:
        """Sort key of a waiting request; the smallest is next. It must be unique (end it with the id)."""

    def victim(self, running: list[Request]) -> Request:
        """The request to preempt, of those running, which are in the order of their admission."""


@runtime_checkable
class QueueOrdering(Protocol):
    """An ordering that no key of a single request can tell: it brings a queue of its own."""

    def queue(self, engine: "Engine") -> WaitingQueue:
        """A fresh queue for one replica."""

    def victim(self, running: list[Request]) -> Request:
        """As in Ordering."""


class Batching(Protocol):
    """A batching policy: what the next step computes.

    What it must remember of one engine from step to step lies in `Engine.policy_state`; the policy itself is
    shared. Class attributes say what it can and needs, each False unless set: `decides_ahead`, it is sound when
    a step is decided while one is under way; `pipelines`, with decodes scheduled one by one it may be asked again
    while steps are under way, as it gives nobody more tokens than are known; `whole_prompts`, it never splits a
    prompt, so that `max_num_batched_tokens` must hold the longest; `refuses_long_prompts`, it need not, since those
    beyond it are rejected as they arrive; `reads`, names of those limits that only some policies have (see
    sim/resolve.py); `keeps_finished`, a finished request keeps its seat and its blocks until all that run are
    finished; `promises_answers`, whoever is admitted has memory for all of the answer; `schedules_drafts`, it computes
    `Request.draft_tokens` with the known ones.
    """

    def plan(self, engine: "Engine") -> StepPlan:
        """Decide the next step; may admit, preempt, and take and free KV blocks as it goes."""

    def steady_steps(self, engine: "Engine", plan: StepPlan) -> int:
        """How many steps, this one included, will be equal decode steps if no request arrives."""

    def may_disturb(self, engine: "Engine", request: Request) -> bool:
        """Whether a request that just joined the queue could change such steps."""
