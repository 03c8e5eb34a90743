"""What stands before the replicas: it refuses, routes and hands over every request."""

from collections.abc import Callable, Sequence
from functools import partial

import simpy

from sim.cluster.clock import ARRIVAL_ORDER, At
from sim.cluster.fleet import Fleet
from sim.cluster.giving_up import GivingUp
from sim.cluster.replica import Replica
from sim.request import Request
from sim.routing import Choose

Leave = Callable[[Request, int, str, float], None]
"""What is told of a request that ends: the replica's index, -1 for none, how, and when."""


class Gateway:
    """Routes requests to replicas; those whose prompt no replica could ever serve are rejected."""

    def __init__(
        self, env: simpy.Environment, fleet: Fleet, choosers: Sequence[Choose], giving_up: GivingUp | None, leave: Leave
    ) -> None:
        self._env = env
        self._fleet = fleet
        self._choosers = choosers  # by the tenant of a request
        self._giving_up = giving_up
        self._leave = leave
        overheads = [pool.request_overhead_s for pool in fleet.pools]
        self.delay_s = min(overheads)
        """What all pools take between a request's sending and its queue. A router sees the state after it."""
        self._further_s = {pool.name: pool.request_overhead_s - self.delay_s for pool in fleet.pools}
        self._longest = max(replica.engine.longest_prompt for replica in fleet.replicas)
        self._same_way = max(overheads) == self.delay_s

    def arrive(self, request: Request) -> None:
        """A request is there to be routed."""
        if request.prompt_tokens > self._longest:
            self._leave(request, -1, "rejected", self._env.now)
            return
        replica = self._fleet.replicas[self._choosers[request.tenant](request).index]
        further_s = 0.0 if self._same_way else self._further_s[replica.pool]
        if further_s:
            event = At(self._env, self._env.now + further_s, ARRIVAL_ORDER)
            event.callbacks.append(partial(self._hand_over, request, replica))
        else:
            self._hand_over(request, replica)

    def _hand_over(self, request: Request, replica: Replica, _event: simpy.Event | None = None) -> None:
        if not replica.engine.accepts(request):
            self._leave(request, -1, "rejected", self._env.now)
            return
        room = replica.engine.limits.max_model_len - request.prompt_tokens
        if request.output_tokens > room:
            request.output_tokens = room
            request.ends_as = "finished"  # cut short before its client has read enough
        replica.deliver(request)
        if self._giving_up is not None:
            self._giving_up.watch(request, replica)
