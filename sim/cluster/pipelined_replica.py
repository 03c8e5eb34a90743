"""A replica whose layers are spread over stages: as many batches as there are stages are under way.

Batches go through the stages in order. A stage's GPU begins with a batch when it is done with the one before, the
batch has come from the stage before, and the stage's worker has prepared it. All of that is known as soon as a batch
is scheduled, so the process only waits for the last stage. Like vLLM's engine core, it schedules until the pipeline is
full or nothing can be scheduled, and then waits for the oldest batch, whoever may arrive meanwhile. A crash waits for
all that are under way.
"""

from collections import deque
from collections.abc import Generator
from typing import Any, NamedTuple

import simpy

from sim.cluster.clock import REPLICA_ORDER, At
from sim.cluster.replica import Replica
from sim.engine.pipelining import PipelinedEngine
from sim.engine.plan import StepPlan
from sim.latency import StepTime, StepTimer
from sim.latency.pipeline import PipelineTimer
from sim.request import Request


class _Batch(NamedTuple):
    """A batch under way, and when its tokens return from the last stage."""

    end_s: float
    plan: StepPlan


class PipelinedReplica(Replica):
    """A replica whose timer is a PipelineTimer and whose engine is a PipelinedEngine."""

    engine: PipelinedEngine
    timer: PipelineTimer

    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        stages = len(self.timer.stages)
        self._gpu_free_s = [0.0] * stages
        self._host_free_s = [0.0] * stages
        self._returned_s = 0.0  # when the latest batch will have returned

    def _paced(self, timer: StepTimer) -> StepTimer:
        """The stages at the pace of now."""
        assert isinstance(timer, PipelineTimer)
        return timer if self._slow == (1.0, 1.0) else timer.slowed(*self._slow)

    def _serve(self, begun: simpy.Event) -> Generator[simpy.Event, None, None]:
        yield begun
        engine = self.engine
        under_way: deque[_Batch] = deque()
        preempted: list[Request] = []  # by a plan that came out empty
        while True:
            self._drop_given_up()
            crashed = self._stopping == "crash"
            if (engine.is_idle or crashed) and not under_way:
                if self._stopping is not None:
                    self.stopped(self, self._lose() if crashed else [])
                    return
                yield self._rest()
                continue
            if len(under_way) < len(self.timer.stages) and not engine.is_idle and not crashed:
                plan = engine.schedule()
                plan.preempted[:0] = preempted
                preempted = plan.preempted if plan.is_empty else []
                if not plan.is_empty:
                    under_way.append(self._enter(plan))
                    continue
            if under_way:
                yield At(self.env, under_way[0].end_s, REPLICA_ORDER + self.index)
                self._drop_given_up()
                self._leave(under_way.popleft())

    def _enter(self, plan: StepPlan) -> _Batch:
        """Send a batch through the stages; note when each part of it happens."""
        now_s, shape = self.env.now, plan.shape()
        work_s = self.timer.host_s(shape)
        stall_s = 0.0
        if self.first_use is not None and shape.prefills:
            stall_s = self.first_use.stall_s(shape.tokens)  # every stage has kernels of its own
        gpu_s = host_s = comm_s = padding_s = 0.0
        outside = False
        there_s = now_s
        for stage, (time, send_s) in enumerate(self.timer.passes(shape)):
            prepared_s = self._host_free_s[stage] = max(now_s, self._host_free_s[stage]) + work_s
            could_s = max(there_s, self._gpu_free_s[stage])
            start_s = max(could_s, prepared_s)
            there_s = self._gpu_free_s[stage] = start_s + (time.total_s + stall_s + send_s)
            gpu_s += time.total_s + stall_s + send_s
            host_s += time.exposed_host_s(shape.decode_context_tokens) + stall_s + (start_s - could_s)
            gpu_s += start_s - could_s
            comm_s += time.comm_s + send_s
            padding_s += time.padding_s
            outside = outside or time.extrapolated
        end_s = there_s + self.timer.timing.host_exposed_s
        for request in plan.admitted:
            request.scheduled_s = now_s
        engine, stages = self.engine, len(self.timer.stages)
        kv = engine.kv.used_blocks, engine.held_tokens(0)
        # A row lasts from the return of the batch before to its own; its parts are means over the stages.
        from_s = max(now_s, self._returned_s)
        mean = StepTime(gpu_s / stages, host_s / stages, comm_s / stages, padding_s / stages, outside)
        bubble_s = end_s - from_s - mean.total_s
        self.log.mixed(
            from_s, end_s, plan, len(engine.running), kv, mean, 0.0, sampled=shape.sampled, bubble_s=bubble_s
        )
        self._returned_s = end_s
        return _Batch(end_s, plan)

    def _leave(self, batch: _Batch) -> None:
        """A batch has returned: its tokens are there."""
        finished = self.engine.complete(batch.plan)
        sampled = batch.plan.sampled
        delivered_s = batch.end_s + self.output_overhead_s * len(sampled)
        for request in sampled:
            if request.generated_tokens == 1:
                request.first_token_s = delivered_s
                self.answers(request)
            elif request.measured:
                self.gaps.add(batch.end_s - request.last_token_s, 1)
            request.last_token_s = batch.end_s
        for request in finished:
            request.finish_s = delivered_s
            self._count(request, -1)
            self.on_end(request, self.index, request.ends_as)
