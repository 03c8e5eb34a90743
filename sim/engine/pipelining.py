"""The engine of a pipelined replica: several steps are under way, and none of them is done twice.

A request whose token is being computed is not scheduled again until that step has returned; the chunks of a
prompt may follow each other through the stages. So it is in vLLM V1, which hands out tokens up to as many as are
known (`step_with_batch_queue`, and the scheduler's rule for requests that have nothing left to compute). A request
that is preempted meanwhile still gets the token of the step under way.

Requests are at different steps, so each is scheduled on its own.
"""

from sim.engine.core import Engine
from sim.engine.plan import StepPlan
from sim.engine.policies import Batching, EngineLimits, Ordering, QueueOrdering
from sim.kvcache.paged import Paged
from sim.kvcache.protocol import KVCacheChoice
from sim.request import Request


class PipelinedEngine(Engine):
    """An engine that schedules further steps before those under way are completed.

    Its policy must be one that `pipelines`. `schedule` may be called again at once; `complete` comes when a step has
    returned, in the order in which they were scheduled.
    """

    __slots__ = ("cancelled",)

    def __init__(
        self,
        limits: EngineLimits,
        batching: Batching,
        ordering: Ordering | QueueOrdering,
        kv_cache: KVCacheChoice = Paged(),  # noqa: B008
    ) -> None:
        super().__init__(limits, batching, ordering, group_decodes=False, kv_cache=kv_cache)
        self.cancelled: set[Request] = set()  # with a step under way, perhaps

    def cancel(self, request: Request) -> bool:
        """Take out a request; what steps under way compute for it is in vain."""
        taken_out = super().cancel(request)
        if taken_out:
            self.cancelled.add(request)
        return taken_out

    def complete(self, plan: StepPlan, steps: int = 1) -> list[Request]:
        """The oldest step under way has returned: its requests get their tokens, and the finished leave."""
        finished = self.launch(plan, steps)
        self.leaving -= sum(request not in self.running for request in finished)  # preempted meanwhile
        self.land(plan, finished)
        return finished

    def sample(self, plan: StepPlan) -> list[Request]:
        """Give a token to the requests whose known tokens are all computed; return those that are done."""
        finished = []
        for request, new, before in plan.chunks:
            if request in self.cancelled or request.generated_tokens == request.output_tokens:
                continue
            if before + new < request.known_tokens:
                continue
            plan.sampled.append(request)
            plan.landing.append(request)
            request.generated_tokens += 1
            request.pending_tokens += 1
            if request.generated_tokens == request.output_tokens:
                self.prefilling.pop(request, None)
                finished.append(request)
        return finished
