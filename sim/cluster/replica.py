"""One replica: a SimPy process that repeats plan, step time, wait, complete.

While the running set only decodes, many steps are one event. Should a request arrive meanwhile that
could change them, that event is moved to the end of the step that is then running.

With asynchronous scheduling the next step is decided when the one before the running step has ended, so that
one step more lies between a request's arrival and its first one.

A replica that drains or crashes stops at the end of the step under way, of the last one if a further one has been
decided; a crash costs no step its tokens.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator
from functools import partial
from itertools import accumulate
from math import inf, isnan, nan

import simpy

from sim.cluster.arrivals import Forecast
from sim.cluster.clock import REPLICA_ORDER, WAKE_ORDER, At, succeed_at
from sim.cluster.flight import Flight, Run
from sim.cluster.lost import take_back
from sim.cluster.pool import Pool
from sim.cluster.watched import Common, Watched
from sim.engine import Engine
from sim.engine.plan import StepPlan
from sim.engine.windowed import WindowedEngine
from sim.latency import StepTimer
from sim.latency.slowed import SlowedTimer
from sim.record import GapLog, StepLog
from sim.request import Request
from sim.windowed_record import WindowedStepLog

_LONGEST_RUN = 4096
"""Steps of one event: a bound on memory, not on time."""

_LIKELY_STEPS = 64
"""Steps that are computed at once when nobody knows when the next request comes, or four times the last run's."""


def _ignore(*_: object) -> None:
    """What happens when nobody wants to know."""


class Replica(Watched):
    """An engine on its GPUs, in virtual time; it serves from `begin` until it has stopped."""

    def __init__(
        self, env: simpy.Environment, index: int, pool: Pool, *, gaps: GapLog,
        on_end: Callable[[Request, int, str], None], forecast: Forecast, fast_forward: bool, closed_loop: bool,
        common: Common,
    ) -> None:  # fmt: skip
        super().__init__(index, pool, common)
        self.env = env
        self.retired: list[Engine] = []  # engines that crashed
        self.gaps = gaps
        self.log = WindowedStepLog(index) if isinstance(self.engine, WindowedEngine) else StepLog(index)
        self.on_end = on_end
        self.forecast = forecast
        self.fast_forward = fast_forward
        self.output_overhead_s = pool.output_overhead_s
        self.first_use = pool.make_first_use()
        self.host_link = pool.host_link
        self.ahead = 1 if pool.decide_ahead else 0  # steps under way when the next is decided
        # Of a step end and an arrival at the same time, which comes first? See the orders in clock.py.
        self._step_reached = bisect_right if closed_loop else bisect_left
        self.stopped: Callable[[Replica, list[Request]], None] = _ignore
        """Told when it serves no more, with the requests that it leaves."""
        self.answers: Callable[[Request], None] = _ignore
        """Told of every first token, when its step begins."""
        self.begun_s = self.idle_s = 0.0  # when it began to serve, and for how long it has had nothing to run since
        self._idle_since = 0.0
        self._stopping: str | None = None  # "drain" or "crash"
        self._slow = (1.0, 1.0)  # how many times as long steps take, and what goes over links
        self.waits: list[tuple[float, float]] = []  # when nothing ran because KV was on its way
        self.pauses = array("d")  # request, latest token, next token: for each that missed a step
        self._step_s = inf  # duration of the latest decode step, to guess how many fit into a time
        self._likely_steps = _LIKELY_STEPS  # of a run, before an arrival cuts it short
        self._decoded_s = -inf  # end of the latest step in which the decode group got a token
        self._stalled: list[tuple[float, int]] = []  # measured members whose last token is older: when, how many
        self._held_since: float | None = None  # requests are held back to make a larger batch
        self._given_up: list[tuple[Request, str]] = []  # to be dropped before the next step is decided
        self._kv_blocks = 0  # used by the latest step: that it is less now, those who watch are told
        self._idle: simpy.Event | None = None
        self.run: Run | None = None

    def begin(self) -> None:
        """Serve from now on, with an engine that holds nothing."""
        self._stopping = None
        self._decoded_s, self._stalled, self._held_since = -inf, [], None
        self.begun_s, self.idle_s = self.env.now, 0.0
        self.env.process(self._serve(self._rest()))

    def drain(self) -> None:
        """Stop when all requests that are here are done."""
        self._stop("drain")

    def crash(self) -> None:
        """Stop, and leave the requests that are here to others."""
        self._stop("crash")

    def _rest(self) -> simpy.Event:
        """Nothing runs until the event happens."""
        self._idle_since = self.env.now
        self._idle = self.env.event()
        return self._idle

    def _stop(self, how: str) -> None:
        self._stopping = how
        self._change()

    def _change(self, step_reached: Callable[..., int] = bisect_left) -> None:
        """Something has come up that the next step's decision must see."""
        if self._idle is not None:
            self._wake(self._idle)
        elif self.run is not None:
            self._cut_short(self.run, step_reached)

    def pace(self, steps: float, links: float) -> None:
        """From the next step that is decided on, steps and what goes over links take so many times as long."""
        self._slow = (steps, links)
        self.timer = self._paced(self.kind.timer)
        if self.run is not None:
            self._cut_short(self.run, bisect_left)

    def _paced(self, timer: StepTimer) -> StepTimer:
        """The timer at the pace of now."""
        return timer if self._slow == (1.0, 1.0) else SlowedTimer(timer, *self._slow)

    def deliver(self, request: Request, after_steps: bool = False) -> None:
        """Hand over an arriving request; `after_steps` when it comes after all steps that end at the same time."""
        self._count(request, 1)
        self.enqueue(request, bisect_right if after_steps else self._step_reached)

    def enqueue(self, request: Request, step_reached: Callable[..., int] = bisect_right) -> None:
        """Put a request that is counted already into the engine's queue."""
        request.queued_s = self.env.now
        if self.engine.add(request):
            self._change(step_reached)
        elif self._idle is not None:
            self._wake(self._idle)

    def give_up(self, request: Request, status: str, on_arrival: bool = False) -> None:
        """Drop a request before the next step is decided, unless its last token is there or under way then.

        Who gives up comes before a step end of the same time; `on_arrival`, when its request does.
        """
        if isnan(request.finish_s):
            self._given_up.append((request, status))
            self._change(self._step_reached if on_arrival else bisect_left)

    @property
    def resting_since(self) -> float | None:
        """Since when it has had nothing to run; None while it has."""
        return None if self._idle is None else self._idle_since

    def catch_up(self) -> int:
        """Let the engine schedule the steps of a run that have begun; return how many of these it has not launched."""
        run = self.run
        if run is None:
            return 0
        step_reached = bisect_right if self.common.after_steps else self._step_reached
        begun = min(step_reached(run.ends_s, self.env.now, 1 - self.ahead) + self.ahead, run.steps)
        if begun > run.scheduled:
            self.engine.repeat(begun, run.scheduled)
            run.scheduled = begun
        return run.scheduled

    def _wake(self, idle: simpy.Event, _alarm: simpy.Event | None = None) -> None:
        if idle is self._idle:
            succeed_at(idle, self.env.now, WAKE_ORDER + self.index)
            self._idle = None
            self.idle_s += self.env.now - self._idle_since

    def _cut_short(self, run: Run, step_reached: Callable[..., int]) -> None:
        """Let a run end with the step that is running now."""
        steps = step_reached(run.ends_s, self.env.now, 1 - self.ahead) + self.ahead
        steps = max(steps, run.scheduled)
        if steps < run.steps:
            run.steps = steps
            end = At(self.env, run.ends_s[steps - self.ahead], REPLICA_ORDER + self.index)
            end.callbacks, run.end.callbacks = run.end.callbacks, []
            run.end = end

    def _steps_until(self, time_s: float, ends_s: list[float]) -> int:
        """How many steps of a run are decided before a request that arrives at that time is seen."""
        return self._step_reached(ends_s, time_s, 1 - self.ahead) + self.ahead

    def _serve(self, begun: simpy.Event) -> Generator[simpy.Event, None, None]:
        yield begun
        engine = self.engine
        flight: Flight | None = None
        preempted: list[Request] = []  # by a plan that came out empty
        while True:
            self._drop_given_up()
            crashed = self._stopping == "crash"
            if engine.is_idle or crashed:
                if flight is not None:  # all that ran in it were given up, or will be lost
                    yield self._ending(flight)
                    self._landed(flight)
                    flight = None
                    continue
                if self._stopping is not None:
                    self.stopped(self, self._lose() if crashed else [])
                    return
                yield from self._sleep()
                continue
            plan = engine.schedule()
            if engine.parked_tokens and flight is None and self._must_wait(plan):
                yield from self._sleep()
                continue
            if plan.hold is not None and flight is None:
                held = yield from self._hold_back(*plan.hold)
                if held is None:
                    continue
                plan = held
            start_s = self.env.now if flight is None else flight.end_s
            for request in plan.regrouped:  # its own time is later if it has joined since the group's last step
                request.last_token_s = max(request.last_token_s, self._decoded_s)
                self._stalled = []
            if self.ahead and plan.is_empty:
                # Everybody's last token is under way, or all were preempted: it costs no time.
                preempted += plan.preempted
                if flight is not None:
                    yield self._ending(flight)
                    self._landed(flight)
                    flight = None
                continue
            if preempted:
                plan.preempted[:0] = preempted
                preempted = []
            steps = min(self._steady_steps(plan), _LONGEST_RUN)
            if steps > 1 and (flight is not None or not self.ahead):
                run = self._begin_run(start_s, plan, steps, flight)
                yield run.end
                flight = self._end_run(run)
                continue
            launched = self._launch(start_s, plan)
            landing = flight if self.ahead else launched
            if landing is not None:
                yield self._ending(landing)
                self._landed(landing)
            flight = launched if self.ahead else None

    def _sleep(self) -> Generator[simpy.Event, None, None]:
        """Wait until something comes, or memory becomes free."""
        yield self._rest()

    def _must_wait(self, plan: StepPlan) -> bool:
        """Whether nothing can run before KV has been moved, some being on its way."""
        return plan.is_empty and not (plan.preempted or plan.hold or self.engine.running)

    def _steady_steps(self, plan: StepPlan) -> int:
        return self.engine.steady_steps(plan) if self.fast_forward else 1

    def _drop_given_up(self) -> None:
        if not self._given_up:
            return
        given_up, self._given_up = self._given_up, []
        for request, status in given_up:
            if not isnan(request.finish_s):
                continue
            last_token_s = max(request.last_token_s, self._decoded_s)
            decoding = self.engine.decodes(request)
            if not self.engine.cancel(request):
                continue
            if decoding and request.measured:
                self._stalled = [(at_s, count - (at_s == last_token_s)) for at_s, count in self._stalled]
            request.finish_s = self.env.now
            if request.first_token_s > request.finish_s:  # it is under way to a client that has gone
                request.first_token_s = nan
            self._count(request, -1)
            self.on_end(request, self.index, status)

    def _lose(self) -> list[Request]:
        """The requests that were here, for others to serve; a fresh engine takes the old one's place."""
        lost = take_back(self.engine, self._decoded_s)
        self.retired.append(self.engine)
        self.engine, self.first_use = self.new_engine(), self.kind.make_first_use()
        self._hits = {}
        self.outstanding_requests = self.outstanding_tokens = 0
        return lost

    def _hold_back(self, request: Request, delay_s: float) -> Generator[simpy.Event, None, StepPlan | None]:
        """Wait until the engine has a plan, which it has when `request` has waited `delay_s` in the queue.

        None when nobody waits any more, or all that do need memory that is not there.
        """
        self._held_since = self.env.now
        while True:
            alarm_s = request.queued_s + delay_s
            if alarm_s <= self.env.now:
                return self.engine.schedule(window_over=True)
            idle = self._rest()
            alarm = At(self.env, alarm_s, WAKE_ORDER + self.index)
            alarm.callbacks.append(partial(self._wake, idle))
            yield idle
            self._drop_given_up()
            if self.engine.is_idle or self._stopping == "crash":
                self._held_since = None
                return None
            plan = self.engine.schedule()
            if self.engine.parked_tokens and self._must_wait(plan):
                self._held_since = None
                return None
            if plan.hold is None:
                return plan
            request, delay_s = plan.hold

    def _ending(self, flight: Flight) -> simpy.Event:
        return At(self.env, flight.end_s, REPLICA_ORDER + self.index)

    def _landed(self, flight: Flight) -> None:
        """A step has ended: its requests get to know."""
        self.engine.land(flight.plan, flight.finished)
        for request in flight.finished:
            request.finish_s = flight.delivered_s
            self._count(request, -1)
            self.on_end(request, self.index, request.ends_as)

    def _launch(self, start_s: float, plan: StepPlan) -> Flight:
        """One step: all that will be known of it when it has ended."""
        shape = plan.shape()
        time = self.timer.step(shape)
        if self.first_use is not None and shape.prefills:
            stall_s = self.first_use.stall_s(shape.tokens)
            time = time._replace(total_s=time.total_s + stall_s, host_s=time.host_s + stall_s)
        for request in plan.admitted:
            request.scheduled_s = start_s
        engine = self.engine
        running = len(engine.running) - engine.leaving - len(engine.kept)
        blocks = engine.kv.used_blocks
        kv = blocks, engine.held_tokens(1 if plan.decodes else 0)
        if blocks < self._kv_blocks:
            self.load_changed(self)
        self._kv_blocks = blocks
        decoding = engine.decoders.measured
        stalled = decoding - sum(count for _, count in self._stalled) if self._stalled else decoding
        window_s = 0.0 if self._held_since is None else start_s - self._held_since
        self._held_since = None
        transfer_s = self._transfer_s()
        lasts_s = time.total_s + transfer_s
        end_s = start_s + lasts_s
        finished = engine.launch(plan)
        delivered_s = end_s + self.output_overhead_s * (plan.decodes + len(plan.sampled))
        if plan.decodes:
            self._count_gaps(end_s, lasts_s, decoding)
            self._decoded_s = end_s
        elif stalled:
            self._stalled.append((start_s, stalled))
        for request in plan.sampled:
            if request.generated_tokens == 1:
                request.first_token_s = delivered_s
                self.answers(request)
            else:
                at_step_start = request.last_token_s == start_s
                if request.measured:
                    self.gaps.add(lasts_s if at_step_start else end_s - request.last_token_s, 1)
                if not at_step_start:
                    self.pauses.extend((request.id, request.last_token_s, end_s))
            request.last_token_s = end_s
        if shape.prefills or plan.preempted or plan.resumed or plan.recomputed_tokens or transfer_s:
            self.log.mixed(start_s, end_s, plan, running, kv, time, window_s, transfer_s)
        else:
            padding, padding_context = plan.padding_decodes, plan.padding_context_tokens
            decodes, context = shape.decodes - padding, shape.decode_context_tokens - padding_context
            self.log.decodes(
                start_s, end_s, 1, decodes, context, running, kv, time, padding, padding_context,
                *(plan.seen(with_padding=False) if plan.window else ()),
            )  # fmt: skip
        return Flight(end_s, delivered_s, plan, finished)

    def _transfer_s(self) -> float:
        """How long the step waits for KV that moves between the GPU and the host, before anything is computed."""
        transfers = self.engine.kv.transfers
        if transfers is None or self.host_link is None:
            return 0.0
        return self.host_link.seconds(transfers.begin_step()) * self._slow[1]

    def _count_gaps(self, end_s: float, gap_s: float, decoding: int) -> None:
        """Note the gaps that end with a decode step; the last token of a stalled member lies longer back."""
        for last_token_s, count in self._stalled:
            self.gaps.add(end_s - last_token_s, count)
            decoding -= count
        self._stalled = []
        if decoding:
            self.gaps.add(gap_s, decoding)

    def _begin_run(self, start_s: float, plan: StepPlan, steps: int, before: Flight | None) -> Run:
        """Up to `steps` equal decode steps, fewer when an arrival cuts them short; `before` is the step under way."""
        # What lies beyond the next arrival would be computed in vain, if that arrival can change anything.
        until_s = inf if self.engine.waiting else self.forecast.next_s
        if until_s == inf:
            steps = min(steps, self._likely_steps)
        elif until_s - start_s < steps * self._step_s:
            steps = min(steps, max(int((until_s - start_s) / self._step_s), 0) + 2)
        gaps_s, time = self.timer.decode_run(
            plan.decodes + plan.padding_decodes, plan.decode_context_tokens + plan.padding_context_tokens,
            steps, *(plan.seen() if plan.window else ()),
        )  # fmt: skip
        self._step_s = gaps_s[-1]
        ends_s = list(accumulate(gaps_s, initial=start_s))
        steps = min(len(gaps_s), self._steps_until(until_s, ends_s))
        order = REPLICA_ORDER + self.index
        if before is not None and before.finished:
            At(self.env, start_s, order).callbacks.append(self._land_within_run)
        end = At(self.env, ends_s[steps - self.ahead], order)
        self.run = run = Run(plan, steps, ends_s, gaps_s, time, end, before)
        return run

    def _land_within_run(self, _event: simpy.Event) -> None:
        """The step has ended that was under way when the run began: the finished leave, if that changes nothing."""
        run = self.run
        assert run is not None and run.before is not None
        if len(self.engine.waiting):
            self._cut_short(run, bisect_left)  # what they leave might let somebody in
        if run.steps > 1:
            self._landed(run.before)
            run.before = None

    def _end_run(self, run: Run) -> Flight | None:
        """Take note of the steps of a run; returns the one under way then, if steps are decided ahead."""
        self.run = None
        engine, plan, steps = self.engine, run.plan, run.steps
        self._likely_steps = max(_LIKELY_STEPS, 4 * steps)
        start_s, end_s = run.ends_s[0], run.ends_s[steps]
        running, decoding = len(engine.running) - engine.leaving - len(engine.kept), engine.decoders.measured
        engine.repeat(steps, run.scheduled)
        self._kv_blocks = blocks = engine.kv.used_blocks
        kv = blocks, engine.held_tokens(steps)
        delivered_s = end_s + self.output_overhead_s * plan.decodes
        flight = Flight(end_s, delivered_s, plan, engine.launch(plan, steps))
        self._decoded_s = end_s
        first = 0
        if self._stalled:
            self._count_gaps(run.ends_s[1], run.gaps_s[0], decoding)
            first = 1
        if decoding:
            self.gaps.add_run(run.gaps_s[first:steps], decoding)
        self.log.decodes(
            start_s, end_s, steps, plan.decodes, plan.decode_context_tokens, running, kv, run.time,
            plan.padding_decodes, plan.padding_context_tokens,
            *(plan.seen(with_padding=False) if plan.window else ()),
        )  # fmt: skip
        if run.before is not None:
            self._landed(run.before)
        if self.ahead:
            return flight
        self._landed(flight)
        return None
