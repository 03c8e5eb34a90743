"""Autoscaling: looks at a pool now and then, and starts or drains replicas as its rule wants."""

from collections import deque
from collections.abc import Callable, Mapping

import numpy as np
import simpy
from numpy.typing import NDArray

from sim.cluster.clock import ARRIVAL_ORDER, At
from sim.cluster.gateway import Gateway
from sim.cluster.lifecycle import Lifecycle
from sim.cluster.replica import Replica
from sim.cluster.watching import kv_share, rested_s
from sim.errors import ServecastError
from sim.request import Request
from sim.scaling import Coming, Knowledge, Scaling, Seen

Arrivals = tuple[NDArray[np.float64], NDArray[np.int64]]
Targets = tuple[float | None, float | None]


def start_scalers(
    lifecycle: Lifecycle, gateway: Gateway, arrivals: Mapping[str, Arrivals] | None, targets_s: Targets,
    is_over: Callable[[], bool],
) -> list["Scaler"]:  # fmt: skip
    """The autoscalers of all pools that have one.

    `arrivals` are the rising times at which requests for each model will arrive and the tokens of their answers, if
    that is known; `targets_s` those of the SLO for TTFT and TPOT.
    """
    scalers = []
    for index, pool in enumerate(lifecycle.fleet.pools):
        if pool.scaling is None:
            continue
        if pool.role:
            raise ServecastError("autoscaling of disaggregated pools is not modelled: leave out one of them")

        def between(begin_s: float, end_s: float, model: str = pool.model) -> Coming:
            if arrivals is None:
                raise ServecastError("an oracle must know all arrivals: use a workload that does not wait for answers")
            times_s, output_tokens = arrivals[model]
            first, last = np.searchsorted(times_s, [begin_s, end_s])
            return Coming(int(last - first), int(output_tokens[first:last].sum()))

        known = Knowledge(*targets_s, pool.cold_start_s, pool.scaling.interval_s, between)
        scalers.append(Scaler(index, pool.scaling, known, lifecycle, gateway, is_over))
    return scalers


class Scaler:
    """The autoscaler of one pool.

    Of the replicas that must go, those that load go first, then the newest. With none left, the first request that
    must wait at the gateway starts one at once, as Knative's activator does.
    """

    def __init__(
        self, pool: int, scaling: Scaling, known: Knowledge, lifecycle: Lifecycle, gateway: Gateway,
        is_over: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._pool = pool
        self._candidates = lifecycle.fleet.serving[lifecycle.fleet.pools[pool].model]
        self._scaling = scaling
        self._decide = scaling.rule.start(known)
        self._lifecycle = lifecycle
        self._gateway = gateway
        self._is_over = is_over
        self._env = lifecycle.env
        self._looks: deque[Seen] = deque()
        self._wishes: deque[tuple[float, int]] = deque()
        self._changed_s = -scaling.cooldown_s
        self._rested: dict[int, float] = {}
        self._looked_s = 0.0
        self._answers: list[Request] = []
        self._ended: list[Request] = []
        for index in lifecycle.fleet.members[pool]:
            self._adopt(lifecycle.fleet.replicas[index])
        lifecycle.on_ready.append(self._adopt)
        self._candidates.wanted.append(self._wake)
        self._next()

    def ended(self, request: Request, replica: int) -> None:
        """A replica has finished an answer."""
        if request.generated_tokens > 1 and self._lifecycle.fleet.pool_of[replica] == self._pool:
            self._ended.append(request)

    def _adopt(self, replica: Replica) -> None:
        """Have its first tokens counted."""
        if replica.kind is self._lifecycle.fleet.pools[self._pool]:
            replica.answers = self._answers.append

    def _wake(self) -> None:
        """A request waits because no replica of its model serves."""
        if not self._here("serving", "loading", "down"):
            self._change(max(self._scaling.least, 1))

    def _next(self) -> None:
        event = At(self._env, self._env.now + self._scaling.interval_s, ARRIVAL_ORDER)
        event.callbacks.append(self._tick)

    def _tick(self, _event: simpy.Event) -> None:
        if self._is_over():
            return
        self._looks.append(self._look())
        while len(self._looks) > 1 and self._looks[1].time_s <= self._env.now - self._scaling.lag_s:
            self._looks.popleft()
        if self._looks[0].time_s <= self._env.now - self._scaling.lag_s:
            self._scale(self._decide(self._looks[0]))
        self._next()

    def _here(self, *states: str) -> list[Replica]:
        fleet, found = self._lifecycle.fleet, self._lifecycle.states
        return [fleet.replicas[index] for index in fleet.members[self._pool] if found[index] in states]

    def _look(self) -> Seen:
        now_s = self._env.now
        ready = self._here("serving")
        held = self._gateway.held_requests(self._candidates)
        busy = 0.0
        for replica in ready:
            since_s = max(self._looked_s, replica.begun_s)
            rested = rested_s(replica)
            before = self._rested.get(replica.index, 0.0) if replica.begun_s < self._looked_s else 0.0
            if now_s > since_s:
                busy += 1.0 - (rested - before) / (now_s - since_s)
            self._rested[replica.index] = rested
        self._looked_s = now_s
        answers = [request for request in self._answers if request.first_token_s <= now_s]
        # In place: every replica has a hand on the list.
        self._answers[:] = [request for request in self._answers if request.first_token_s > now_s]
        ended, self._ended = self._ended, []
        return Seen(
            time_s=now_s,
            ready=len(ready),
            coming=len(self._here("loading", "down")),
            waiting=sum(len(replica.engine.waiting) for replica in ready) + held,
            in_flight=sum(replica.outstanding_requests for replica in ready) + held,
            busy=busy,
            kv_used=sum(map(kv_share, ready)),
            ttft_s=[request.first_token_s - request.arrival_s for request in answers],
            tpot_s=[(request.finish_s - request.first_token_s) / (request.generated_tokens - 1) for request in ended],
        )

    def _scale(self, wanted: int | None) -> None:
        """Do what all wishes of the stabilisation windows agree on."""
        scaling, now_s = self._scaling, self._env.now
        there = len(self._here("serving", "loading", "down", "crashing"))
        wanted = there if wanted is None else min(max(wanted, scaling.least), scaling.most)
        self._wishes.append((now_s, wanted))
        while self._wishes[0][0] < now_s - max(scaling.up_window_s, scaling.down_window_s):
            self._wishes.popleft()
        most = max(wish for at_s, wish in self._wishes if at_s >= now_s - scaling.down_window_s)
        least = min(wish for at_s, wish in self._wishes if at_s >= now_s - scaling.up_window_s)
        change = min(max(there, least), most) - there
        if change and now_s - self._changed_s >= scaling.cooldown_s:
            self._change(change)

    def _change(self, change: int) -> None:
        self._changed_s = self._env.now
        for _ in range(change):
            self._lifecycle.launch(self._pool)
        if change < 0:
            newest_first = [*reversed(self._here("loading")), *reversed(self._here("serving"))]
            for replica in newest_first[:-change]:
                self._lifecycle.drain(replica)
        counters = self._lifecycle.fleet.counters
        counters["scale_ups"] = counters.get("scale_ups", 0) + (change > 0)
        counters["scale_downs"] = counters.get("scale_downs", 0) + (change < 0)
