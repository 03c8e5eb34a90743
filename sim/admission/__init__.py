"""Admission rules: whether a request may come in. One file each, no clock and no I/O.

A rule is a small frozen declaration; `start` gives the running thing, which is told the time. There is one for each
model that is served. What a rule refuses never gets to a router; its client may try again (`workload.retries`).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from sim.request import Request
from sim.routing import Candidates


class Door(Protocol):
    """What a rule may know: the replicas that routers see, and what waits before them."""

    @property
    def candidates(self) -> Candidates:
        """The replicas that take requests now, as old as `cluster.router_staleness` allows; none in an outage."""

    @property
    def tenants(self) -> Sequence[str]:
        """The names of the tenants, which `Request.tenant` indexes."""

    @property
    def held_requests(self) -> int:
        """Requests that were let in and wait at the gateway, because no replica takes any."""


Admits = Callable[[Request, float], bool]
"""Whether a request may come in at a time, in virtual seconds; a rule counts those that it lets in."""


class Rule(Protocol):
    """An admission rule. One that asks replicas for `cached_tokens` has a class attribute `knows_caches = True`."""

    def start(self, door: Door) -> Admits:
        """A fresh judge."""
