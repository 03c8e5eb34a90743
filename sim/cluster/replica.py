"""One replica: a SimPy process that repeats plan, step time, wait, complete.

While the running set only decodes, many steps are one event. Should a request arrive meanwhile that
could change them, that event is moved to the end of the step that is then running.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator
from itertools import accumulate
from math import inf

import simpy

from sim.cluster.arrivals import Forecast
from sim.cluster.clock import REPLICA_ORDER, WAKE_ORDER, At, succeed_at
from sim.engine import Engine
from sim.latency import StepTimer
from sim.plan import StepPlan
from sim.record import GapLog, StepLog
from sim.request import Request

_LONGEST_RUN = 4096
"""Steps of one event: a bound on memory, not on time."""


class _Run:
    """Equal decode steps under way: how many, when each ends (after the start), and the event of the last."""

    __slots__ = ("end", "ends_s", "steps")

    def __init__(self, steps: int, ends_s: list[float], end: simpy.Event) -> None:
        self.steps = steps
        self.ends_s = ends_s
        self.end = end


class Replica:
    """An engine on its GPUs, in virtual time."""

    def __init__(
        self, env: simpy.Environment, index: int, engine: Engine, timer: StepTimer, gaps: GapLog,
        on_finish: Callable[[Request, int], None], forecast: Forecast, fast_forward: bool, closed_loop: bool,
    ) -> None:  # fmt: skip
        self.env = env
        self.index = index
        self.engine = engine
        self.timer = timer
        self.gaps = gaps
        self.log = StepLog(index)
        self.on_finish = on_finish
        self.forecast = forecast
        self.fast_forward = fast_forward
        # Of a step end and an arrival at the same time, which comes first? See the orders in clock.py.
        self._step_reached = bisect_right if closed_loop else bisect_left
        self.outstanding_requests = 0
        self._step_s = inf  # duration of the latest decode step, to guess how many fit into a time
        self._idle: simpy.Event | None = None
        self._run: _Run | None = None
        env.process(self._serve())

    def deliver(self, request: Request) -> None:
        """Hand over an arriving request."""
        self.outstanding_requests += 1
        may_disturb = self.engine.add(request)
        if self._idle is not None:
            succeed_at(self._idle, self.env.now, WAKE_ORDER + self.index)
            self._idle = None
        elif may_disturb and self._run is not None:
            self._cut_short(self._run)

    def _cut_short(self, run: "_Run") -> None:
        """Let a run end with the step that is running now."""
        steps = self._step_reached(run.ends_s, self.env.now, 1)
        if steps < run.steps:
            run.steps = steps
            end = At(self.env, run.ends_s[steps], REPLICA_ORDER + self.index)
            end.callbacks, run.end.callbacks = run.end.callbacks, []
            run.end = end

    def _serve(self) -> Generator[simpy.Event, None, None]:
        engine = self.engine
        now = 0.0
        while True:
            if engine.is_idle:
                self._idle = self.env.event()
                yield self._idle
                now = self.env.now
            plan = engine.schedule()
            steps = engine.steady_steps(plan) if self.fast_forward else 1
            if steps > 1:
                now = yield from self._decode(now, plan, min(steps, _LONGEST_RUN))
            else:
                now = yield from self._step(now, plan)

    def _step(self, start_s: float, plan: StepPlan) -> Generator[simpy.Event, None, float]:
        """One step."""
        shape = plan.shape()
        time = self.timer.step(shape)
        for request in plan.regrouped:
            request.last_token_s = start_s  # its last token came when the step before this one ended
        for request in plan.admitted:
            request.scheduled_s = start_s
        running, kv_used = len(self.engine.running), self.engine.kv.used_blocks
        decoding = self.engine.decoders.measured if plan.decodes else 0
        end_s = start_s + time.total_s
        yield At(self.env, end_s, REPLICA_ORDER + self.index)
        finished = self.engine.complete(plan)
        if decoding:
            self.gaps.add(time.total_s, decoding)
        for request in plan.sampled:
            if request.generated_tokens == 1:
                request.first_token_s = end_s
            elif request.measured:
                at_step_start = request.last_token_s == start_s
                self.gaps.add(time.total_s if at_step_start else end_s - request.last_token_s, 1)
            request.last_token_s = end_s
        if shape.prefills or plan.preempted or plan.resumed or plan.recomputed_tokens:
            self.log.mixed(start_s, end_s, plan, running, kv_used, time)
        else:
            context = shape.decode_context_tokens
            self.log.decodes(start_s, end_s, 1, shape.decodes, context, running, kv_used, time)
        self._finish(finished, end_s)
        return end_s

    def _decode(self, start_s: float, plan: StepPlan, steps: int) -> Generator[simpy.Event, None, float]:
        """Up to `steps` equal decode steps, fewer when an arrival cuts them short."""
        engine = self.engine
        running, decoding = len(engine.running), engine.decoders.measured
        # What lies beyond the next arrival would be computed in vain, if that arrival can change anything.
        until_s = inf if engine.waiting else self.forecast.next_s
        if until_s - start_s < steps * self._step_s:
            steps = min(steps, int((until_s - start_s) / self._step_s) + 2)
        gaps_s, time = self.timer.decode_run(plan.decodes, plan.decode_context_tokens, steps)
        self._step_s = gaps_s[-1]
        ends_s = list(accumulate(gaps_s, initial=start_s))
        steps = min(len(gaps_s), self._step_reached(ends_s, until_s, 1))
        run = self._run = _Run(steps, ends_s, At(self.env, ends_s[steps], REPLICA_ORDER + self.index))
        yield run.end
        self._run = None
        steps = run.steps
        end_s = ends_s[steps]
        engine.repeat(steps)
        kv_used = engine.kv.used_blocks
        finished = engine.complete(plan, steps)
        if decoding:
            self.gaps.add_run(gaps_s[:steps], decoding)
        context = plan.decode_context_tokens
        self.log.decodes(start_s, end_s, steps, plan.decodes, context, running, kv_used, time)
        self._finish(finished, end_s)
        return end_s

    def _finish(self, finished: list[Request], end_s: float) -> None:
        for request in finished:
            request.finish_s = end_s
            self.outstanding_requests -= 1
            self.on_finish(request, self.index)
