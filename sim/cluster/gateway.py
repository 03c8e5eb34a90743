"""What stands before the replicas: it refuses, routes and hands over every request."""

from collections.abc import Callable, Sequence
from functools import partial
from math import inf, isnan, nan

import simpy

from sim.cluster.clock import ANSWERED_ORDER, ARRIVAL_ORDER, At
from sim.cluster.fleet import Candidates, Fleet
from sim.cluster.giving_up import GivingUp
from sim.cluster.replica import Replica
from sim.cluster.watched import Common
from sim.request import Request
from sim.routing import Choose

Leave = Callable[[Request, int, str, float], None]
"""What is told of a request that ends: the replica's index, -1 for none, how, and when."""


class Gateway:
    """Routes requests to replicas; those whose prompt no replica could ever serve are rejected.

    While no replica takes requests they wait here, `most_held` at the most, and go on in the order of their arrival
    when one joins. Requests of a replica that crashed are sent on to others, up to `most_requeues` times each, with
    the tokens that they have: clients read one stream, in which the crash is a long gap. They fail if that is 0.
    """

    def __init__(
        self, env: simpy.Environment, fleet: Fleet, ways: Sequence[tuple[Candidates, Choose]],
        giving_up: GivingUp | None, leave: Leave, common: Common, most_requeues: float = inf, most_held: float = inf,
        latency_s: float = 0.0, order: int = ARRIVAL_ORDER,
    ) -> None:  # fmt: skip
        self._env = env
        self._fleet = fleet
        self._ways = ways  # by the tenant of a request: who may serve it, and how one of them is chosen
        self._giving_up = giving_up
        self._leave = leave
        self._common = common
        self._most_requeues = most_requeues
        self._most_held = most_held
        self._order = order  # of arrivals, among events at the same time
        self._held: dict[Request, None] = {}
        self._held_s = 0.0  # when the latest of them came
        overheads = [pool.request_overhead_s for pool in fleet.pools]
        self.delay_s = latency_s + min(overheads)
        """What all requests take between their sending and their queue. A router sees the state after it."""
        self._further_s = {pool.name: pool.request_overhead_s - min(overheads) for pool in fleet.pools}
        self._longest = max(pool.make_engine().longest_prompt for pool in fleet.pools)
        self._same_way = max(overheads) == min(overheads)

    def arrive(self, request: Request) -> None:
        """A request is there to be routed."""
        if request.prompt_tokens > self._longest:
            self._leave(request, -1, "rejected", self._env.now)
            return
        self._route(request)

    def lost(self, replica: Replica, requests: list[Request]) -> None:
        """A replica has crashed that had these."""
        now_s = self._env.now
        again = [request for request in requests if request.requeues <= self._most_requeues]
        for request in requests:
            request.holder = self
            if request.requeues > self._most_requeues:
                self._end(request, "failed", replica.index)
        if again:
            self._fleet.counters["requeued"] += len(again)
            event = At(self._env, now_s + self.delay_s, ANSWERED_ORDER)
            event.callbacks.append(partial(self._send_on, again))

    def release(self, _replica: Replica | None = None) -> None:
        """A replica has joined: those that waited go on."""
        held, self._held = sorted(self._held, key=lambda request: (request.arrival_s, request.id)), {}
        for request in held:
            self._route(request)

    def forsake(self, _replica: Replica | None = None) -> None:
        """A replica is gone for good: if it was the last, nobody needs to wait for another."""
        for request in [one for one in self._held if self._fleet.forsaken(self._ways[one.tenant][0])]:
            del self._held[request]
            self._end(request, "failed")

    def despair(self) -> bool:
        """Nothing will ever happen any more: what waits here fails. False if nothing does."""
        held, self._held = self._held, {}
        if held:
            # Events that nobody waits for any more, as of steps that were cut short, may have moved the clock since.
            self._env._now = self._held_s
        for request in held:
            self._end(request, "failed")
        return bool(held)

    def held_requests(self, candidates: Candidates) -> int:
        """How many wait here, because none of these takes any."""
        return sum(self._ways[request.tenant][0] is candidates for request in self._held)

    def give_up(self, request: Request, status: str, on_arrival: bool = False) -> None:
        """Drop a request that waits here, or is on its way from one replica to another."""
        if isnan(request.finish_s):
            self._held.pop(request, None)
            self._end(request, status)

    def _end(self, request: Request, status: str, replica: int = -1) -> None:
        request.finish_s = self._env.now
        if request.first_token_s > request.finish_s:  # it was under way to its client
            request.first_token_s = nan
        self._leave(request, replica, status, request.finish_s)

    def _turn_away(self, request: Request, status: str) -> None:
        """A request cannot come in, and has ended."""
        self._end(request, status)

    def _send_on(self, requests: list[Request], _event: simpy.Event) -> None:
        for request in requests:
            if isnan(request.finish_s):
                self._route(request, after_steps=True)

    def _route(self, request: Request, after_steps: bool = False) -> None:
        candidates, choose = self._ways[request.tenant]
        if not candidates.members:
            self._hold(request)
            return
        self._common.after_steps = after_steps
        replica = self._fleet.replicas[choose(request).index]
        self._common.after_steps = False
        further_s = 0.0 if self._same_way else self._further_s[replica.pool]
        if further_s:
            order = ANSWERED_ORDER if after_steps else self._order
            event = At(self._env, self._env.now + further_s, order)
            event.callbacks.append(partial(self._hand_over, request, replica, after_steps))
        else:
            self._hand_over(request, replica, after_steps)

    def _hold(self, request: Request) -> None:
        candidates, _ = self._ways[request.tenant]
        if len(self._held) >= self._most_held or self._fleet.forsaken(candidates):
            self._turn_away(request, "failed")
            return
        self._held[request] = None
        self._held_s = self._env.now
        self._is_with(self, request)
        for wake in candidates.wanted:
            wake()

    def _hand_over(
        self, request: Request, replica: Replica, after_steps: bool, _event: simpy.Event | None = None
    ) -> None:
        if not isnan(request.finish_s):
            return  # given up on the way
        if not replica.accepting:
            self._route(request, after_steps)
            return
        if request.known_tokens > replica.engine.longest_prompt:
            if request.requeues:
                self._end(request, "failed")
            else:
                self._leave(request, -1, "rejected", self._env.now)
            return
        room = replica.engine.limits.max_model_len - request.prompt_tokens
        if request.output_tokens > room:
            request.output_tokens = room
            request.ends_as = "finished"  # cut short before its client has read enough
        replica.deliver(request, after_steps)
        self._is_with(replica, request)

    def _is_with(self, holder: "Gateway | Replica", request: Request) -> None:
        """Who must know should the request be given up."""
        known = request.holder is not None
        request.holder = holder
        if self._giving_up is not None and not known:
            self._giving_up.watch(self._env, request)
