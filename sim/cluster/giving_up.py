"""Clients that do not wait for ever, and servers that do not either: who gives a request up, and when."""

from dataclasses import dataclass
from functools import partial
from math import inf, isnan

import simpy

from sim.cluster.clock import ARRIVAL_ORDER, At
from sim.request import Request


@dataclass(frozen=True)
class GivingUp:
    """Watches requests from when the server has them: a replica, or the gateway while none takes any.

    A client gives up `patience_s` after it sent its request, the server `request_timeout_s` after it had it, or
    `queue_timeout_s` after that if no step has begun for it by then. All are infinite where nobody does. A crash
    changes none of these times.
    """

    request_timeout_s: float = inf
    queue_timeout_s: float = inf

    def watch(self, env: simpy.Environment, request: Request) -> None:
        """Let whoever holds the request drop it in time; a replica at a step's end at the earliest, if it runs."""
        given_up_s = request.arrival_s + request.patience_s
        if given_up_s <= env.now:  # on the way here
            request.holder.give_up(request, "cancelled", on_arrival=True)
            return
        self._at(env, given_up_s, request, "cancelled")
        self._at(env, env.now + self.request_timeout_s, request, "timed_out")
        self._at(env, env.now + self.queue_timeout_s, request, "timed_out", only_waiting=True)

    def _at(
        self, env: simpy.Environment, time_s: float, request: Request, status: str, only_waiting: bool = False
    ) -> None:
        if time_s < inf:
            event = At(env, time_s, ARRIVAL_ORDER)
            event.callbacks.append(partial(_give_up, request, status, only_waiting))


def _give_up(request: Request, status: str, only_waiting: bool, _event: simpy.Event) -> None:
    if not (only_waiting and not isnan(request.scheduled_s)):
        request.holder.give_up(request, status)
