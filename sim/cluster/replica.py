"""One replica: a SimPy process that repeats plan, step time, wait, complete.

While the running set only decodes, many steps are one event. Should a request arrive meanwhile that
could change them, that event is moved to the end of the step that is then running.

With asynchronous scheduling the next step is decided when the one before the running step has ended, so that
one step more lies between a request's arrival and its first one.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator
from itertools import accumulate
from math import inf
from typing import NamedTuple

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
    """Equal decode steps in a row: how many, when they end (the first item is the start), and when to go on.

    That is at the end of the last step, or, with a step decided ahead, at the end of the last but one.
    """

    __slots__ = ("end", "ends_s", "steps")

    def __init__(self, steps: int, ends_s: list[float], end: simpy.Event) -> None:
        self.steps = steps
        self.ends_s = ends_s
        self.end = end


class _Flight(NamedTuple):
    """A launched step: when it ends, when its tokens are with the clients, and who is done then."""

    end_s: float
    delivered_s: float
    plan: StepPlan
    finished: list[Request]


class Replica:
    """An engine on its GPUs, in virtual time."""

    def __init__(
        self, env: simpy.Environment, index: int, engine: Engine, timer: StepTimer, gaps: GapLog,
        on_finish: Callable[[Request, int], None], forecast: Forecast, fast_forward: bool, closed_loop: bool,
        decide_ahead: bool, output_overhead_s: float,
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
        self.output_overhead_s = output_overhead_s
        self.ahead = 1 if decide_ahead else 0  # steps under way when the next is decided
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
        steps = self._steps_until(self.env.now, run.ends_s)
        if steps < run.steps:
            run.steps = steps
            end = At(self.env, run.ends_s[steps - self.ahead], REPLICA_ORDER + self.index)
            end.callbacks, run.end.callbacks = run.end.callbacks, []
            run.end = end

    def _steps_until(self, time_s: float, ends_s: list[float]) -> int:
        """How many steps of a run are decided before a request that arrives at that time is seen."""
        return self._step_reached(ends_s, time_s, 1 - self.ahead) + self.ahead

    def _serve(self) -> Generator[simpy.Event, None, None]:
        engine = self.engine
        flight: _Flight | None = None
        preempted: list[Request] = []  # by a plan that came out empty
        while True:
            if engine.is_idle:
                self._idle = self.env.event()
                yield self._idle
            plan = engine.schedule()
            start_s = self.env.now if flight is None else flight.end_s
            for request in plan.regrouped:
                request.last_token_s = start_s  # its last token comes when the step before this one ends
            if plan.is_empty and self.ahead:
                # Everybody's last token is under way, or all were preempted: it costs no time.
                preempted += plan.preempted
                if flight is not None:
                    yield from self._land(flight)
                    flight = None
                continue
            if preempted:
                plan.preempted[:0] = preempted
                preempted = []
            steps = engine.steady_steps(plan) if self.fast_forward else 1
            if steps > 1 and (flight is not None or not self.ahead):
                flight = yield from self._decode(start_s, plan, min(steps, _LONGEST_RUN), flight)
                continue
            launched = self._launch(start_s, plan)
            if not self.ahead:
                yield from self._land(launched)
            else:
                if flight is not None:
                    yield from self._land(flight)
                flight = launched

    def _land(self, flight: _Flight) -> Generator[simpy.Event, None, None]:
        """Wait for the end of a step and let its requests know."""
        yield At(self.env, flight.end_s, REPLICA_ORDER + self.index)
        self._landed(flight)

    def _landed(self, flight: _Flight) -> None:
        self.engine.land(flight.plan, flight.finished)
        for request in flight.finished:
            request.finish_s = flight.delivered_s
            self.outstanding_requests -= 1
            self.on_finish(request, self.index)

    def _launch(self, start_s: float, plan: StepPlan) -> _Flight:
        """One step: all that will be known of it when it has ended."""
        shape = plan.shape()
        time = self.timer.step(shape)
        for request in plan.admitted:
            request.scheduled_s = start_s
        running, kv_used = len(self.engine.running) - self.engine.leaving, self.engine.kv.used_blocks
        decoding = self.engine.decoders.measured if plan.decodes else 0
        end_s = start_s + time.total_s
        delivered_s = end_s + self.output_overhead_s * shape.sampled
        finished = self.engine.launch(plan)
        if decoding:
            self.gaps.add(time.total_s, decoding)
        for request in plan.sampled:
            if request.generated_tokens == 1:
                request.first_token_s = delivered_s
            elif request.measured:
                at_step_start = request.last_token_s == start_s
                self.gaps.add(time.total_s if at_step_start else end_s - request.last_token_s, 1)
            request.last_token_s = end_s
        if shape.prefills or plan.preempted or plan.resumed or plan.recomputed_tokens:
            self.log.mixed(start_s, end_s, plan, running, kv_used, time)
        else:
            context = shape.decode_context_tokens
            self.log.decodes(start_s, end_s, 1, shape.decodes, context, running, kv_used, time)
        return _Flight(end_s, delivered_s, plan, finished)

    def _decode(
        self, start_s: float, plan: StepPlan, steps: int, before: _Flight | None
    ) -> Generator[simpy.Event, None, _Flight | None]:
        """Up to `steps` equal decode steps, fewer when an arrival cuts them short.

        `before` is the step under way. Returns the one under way then, if steps are decided ahead.
        """
        engine = self.engine
        running, decoding = len(engine.running), engine.decoders.measured
        # What lies beyond the next arrival would be computed in vain, if that arrival can change anything.
        until_s = inf if engine.waiting else self.forecast.next_s
        if until_s - start_s < steps * self._step_s:
            steps = min(steps, max(int((until_s - start_s) / self._step_s), 0) + 2)
        gaps_s, time = self.timer.decode_run(plan.decodes, plan.decode_context_tokens, steps)
        self._step_s = gaps_s[-1]
        ends_s = list(accumulate(gaps_s, initial=start_s))
        steps = min(len(gaps_s), self._steps_until(until_s, ends_s))
        end = At(self.env, ends_s[steps - self.ahead], REPLICA_ORDER + self.index)
        run = self._run = _Run(steps, ends_s, end)
        yield run.end
        self._run = None
        steps = run.steps
        end_s = ends_s[steps]
        engine.repeat(steps)
        kv_used = engine.kv.used_blocks
        delivered_s = end_s + self.output_overhead_s * plan.decodes
        flight = _Flight(end_s, delivered_s, plan, engine.launch(plan, steps))
        if decoding:
            self.gaps.add_run(gaps_s[:steps], decoding)
        context = plan.decode_context_tokens
        self.log.decodes(start_s, end_s, steps, plan.decodes, context, running, kv_used, time)
        if before is not None:
            self._landed(before)
        if self.ahead:
            return flight
        self._landed(flight)
        return None
