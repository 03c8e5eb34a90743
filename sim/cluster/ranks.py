"""Ranks of data-parallel attention: replicas with queues and KV caches of their own that take every step together.

A step begins for all ranks at once and ends for all at once; one without requests computes for nobody meanwhile. When
no rank has any, all of them stand still. Routers choose among ranks as among replicas.
"""

from bisect import bisect_left
from collections.abc import Callable, Generator
from typing import Any

import simpy

from sim.cluster.clock import REPLICA_ORDER, WAKE_ORDER, At, succeed_at
from sim.cluster.flight import Flight
from sim.cluster.pool import Pool
from sim.cluster.replica import Replica
from sim.engine.plan import StepPlan
from sim.errors import ServecastError
from sim.latency import StepTimer
from sim.latency.first_use import FirstUse
from sim.latency.ranks import KnownTimer, RanksTimer
from sim.request import Request


class Rank(Replica):
    """A replica that is driven by its group."""

    def __init__(self, group: "RankGroup", *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        self._group = group
        self._preempted: list[Request] = []  # by plans that came out empty
        self.first_use = None  # the group's
        group.ranks.append(self)

    @property
    def step_timer(self) -> StepTimer:
        """That of the group, for a rank alone; `timer` only knows of the latest step."""
        return self.kind.timer

    def begin(self) -> None:
        """Serve from now on: the group does."""

    def _stop(self, how: str) -> None:
        raise ServecastError("ranks of data_parallel cannot stop one by one: that is not simulated")

    def pace(self, steps: float, links: float) -> None:
        """Not simulated; raises ServecastError."""
        raise ServecastError("ranks of data_parallel at different paces are not simulated")

    def deliver(self, request: Request, after_steps: bool = False) -> None:
        """Hand over an arriving request."""
        super().deliver(request, after_steps)
        self._group.wake()

    def _change(self, step_reached: Callable[..., int] = bisect_left) -> None:
        self._group.wake()

    def decide(self) -> StepPlan | None:
        """What the rank computes in the next step, None for nothing."""
        if self.engine.is_idle:
            return None
        plan = self.engine.schedule()
        for request in plan.regrouped:
            request.last_token_s = max(request.last_token_s, self._decoded_s)
            self._stalled = []
        plan.preempted[:0] = self._preempted
        self._preempted = plan.preempted if plan.is_empty else []
        return None if plan.is_empty else plan


class RankGroup:
    """Ranks that take every step together: one process."""

    def __init__(self, env: simpy.Environment, timer: RanksTimer, ahead: bool, first_use: FirstUse | None) -> None:
        self.ranks: list[Rank] = []
        self._env = env
        self._timer = timer
        self._ahead = ahead
        self._first_use = first_use
        self._idle: simpy.Event | None = None
        env.process(self._serve())

    def wake(self) -> None:
        """A rank has something to do."""
        if self._idle is not None:
            succeed_at(self._idle, self._env.now, WAKE_ORDER + self.ranks[0].index)
            self._idle = None

    def _serve(self) -> Generator[simpy.Event, None, None]:
        flights: list[tuple[Rank, Flight]] = []
        while True:
            for rank in self.ranks:
                rank._drop_given_up()
            if all(rank.engine.is_idle for rank in self.ranks) and not flights:
                self._idle = self._env.event()
                yield self._idle
                continue
            plans = [rank.decide() for rank in self.ranks]
            before, flights = flights, []
            if any(plans):
                flights = self._launch(before[0][1].end_s if before else self._env.now, plans)
            if before:
                yield from self._land(before)
            if flights and not self._ahead:
                yield from self._land(flights)
                flights = []

    def _launch(self, start_s: float, plans: list[StepPlan | None]) -> list[tuple[Rank, Flight]]:
        shapes = [None if plan is None else plan.shape() for plan in plans]
        stall_s = 0.0
        if self._first_use is not None and any(shape is not None and shape.prefills for shape in shapes):
            stall_s = self._first_use.stall_s(sum(shape.tokens for shape in shapes if shape is not None))
        flights = []
        for rank, plan, time in zip(self.ranks, plans, self._timer.together(shapes), strict=True):
            if plan is not None:
                rank.timer = KnownTimer(time._replace(total_s=time.total_s + stall_s, host_s=time.host_s + stall_s))
                flights.append((rank, rank._launch(start_s, plan)))
        return flights

    def _land(self, flights: list[tuple[Rank, Flight]]) -> Generator[simpy.Event, None, None]:
        yield At(self._env, flights[0][1].end_s, REPLICA_ORDER + self.ranks[0].index)
        for rank, flight in flights:
            rank._landed(flight)


class RankGroups:
    """Puts the ranks of each pool together as they are made."""

    def __init__(self) -> None:
        self._latest: dict[str, RankGroup] = {}

    def rank(self, timer: RanksTimer, env: simpy.Environment, index: int, pool: Pool, **more: Any) -> Rank:
        """The next rank of the pool."""
        group = self._latest.get(pool.name)
        if group is None or len(group.ranks) == timer.ranks:
            group = self._latest[pool.name] = RankGroup(env, timer, pool.decide_ahead, pool.make_first_use())
        return Rank(group, env, index, pool, **more)
