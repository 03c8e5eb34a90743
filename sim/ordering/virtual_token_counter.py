"""Fair shares for tenants, by the tokens that each has been served (VTC)."""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import chain
from typing import Annotated

from pydantic import Field

from sim.engine import Engine
from sim.request import Request

Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class VirtualTokenCounter:
    """The tenant served least so far goes first, then the earlier arrival.

    A tenant's counter grows by `input_weight` for each prompt token when a request is first admitted and by
    `output_weight` for each generated token. A tenant that comes to wait when none of its requests did is lifted
    to the lowest counter of those that wait, or, if none does, to that of the tenant that left the queue last, so
    that idling saves up nothing. Two tenants that both always have requests waiting are served the same within
    2 * max(input_weight * longest prompt, output_weight * KV tokens of the replica).
    Source of rule, bound and weights: Sheng et al., Fairness in Serving Large Language Models (OSDI 2024). Each
    replica counts for itself. The latest admitted is preempted first; it is not charged twice.

    One seat, prompts of 4 tokens, all there at the start: A's answers have 10 tokens (4 + 2 x 10 = 24), B's 2 (8).

        admitted      A1   B1   B2   B3   A2   B4
        A's counter   24   24   24   24   48   48
        B's counter    0    8   16   24   24   32     after B3 it is a tie, and A2 came first
    """

    input_weight: Weight = 1.0
    """What a prompt token costs a tenant."""
    output_weight: Weight = 2.0
    """What an output token costs a tenant."""

    def queue(self, engine: Engine) -> "TenantQueue":
        """The queue of one replica."""
        return TenantQueue(self, engine)

    def victim(self, running: list[Request]) -> Request:
        """The last of the running list."""
        return running[-1]


class _Tenant:
    """What one tenant was served, and its requests that wait."""

    __slots__ = ("input_tokens", "lift", "output_tokens", "waiting")

    def __init__(self) -> None:
        self.input_tokens = 0
        self.output_tokens = 0  # as of the latest refresh
        self.lift = 0.0
        self.waiting: list[tuple[float, int, Request]] = []  # a heap


class TenantQueue:
    """Requests by tenant, and a counter for each.

    Served tokens are kept as whole numbers, so that a counter does not depend on how often it was looked at.
    """

    rearranges = True

    def __init__(self, order: VirtualTokenCounter, engine: Engine) -> None:
        self._order = order
        self._engine = engine
        self._tenants: dict[int, _Tenant] = {}
        self._counted: dict[Request, int] = {}  # admitted requests, and how many of their tokens were counted
        self._comers: list[_Tenant] = []  # came to wait when none of their requests did, since the last refresh
        self._left_last: _Tenant | None = None
        self._size = 0

    def counter(self, tenant: int) -> float:
        """The tenant's virtual counter, as of the latest refresh, in weighted tokens."""
        return self._counter(self._tenants[tenant])

    def _counter(self, tenant: _Tenant) -> float:
        order = self._order
        return tenant.lift + order.input_weight * tenant.input_tokens + order.output_weight * tenant.output_tokens

    def _next(self) -> _Tenant:
        waiting = (tenant for tenant in self._tenants.values() if tenant.waiting)
        return min(waiting, key=lambda tenant: (self._counter(tenant), tenant.waiting[0]))

    @property
    def head(self) -> Request:
        """The first request of the tenant with the lowest counter."""
        return self._next().waiting[0][2]

    def push(self, request: Request) -> bool:
        """Let a request wait; a tenant that comes to wait must be lifted at the end of this step."""
        tenant = self._tenants.setdefault(request.tenant, _Tenant())
        comes = not tenant.waiting and request.seat < 0
        if comes:
            self._comers.append(tenant)
        heappush(tenant.waiting, (request.arrival_s, request.id, request))
        self._size += 1
        return comes or self._engine.has_seat

    def pop(self) -> Request:
        """Take out the head, and charge its tenant for the prompt."""
        tenant = self._next()
        request = heappop(tenant.waiting)[2]
        if request.seat < 0:
            tenant.input_tokens += request.prompt_tokens
        self._counted.setdefault(request, request.generated_tokens)
        self._has_left(tenant)
        return request

    def remove(self, request: Request) -> None:
        """Take out any request that waits."""
        tenant = self._tenants[request.tenant]
        tenant.waiting = [entry for entry in tenant.waiting if entry[2] is not request]
        heapify(tenant.waiting)
        self._has_left(tenant)

    def _has_left(self, tenant: _Tenant) -> None:
        self._size -= 1
        if not tenant.waiting:
            self._left_last = tenant

    def refresh(self) -> None:
        """Charge all tenants for what was generated, and lift those that came to wait."""
        if not self._comers and not (self._size and self._engine.has_seat):
            return
        running = self._engine.running
        for request, counted in list(self._counted.items()):
            generated = self._engine.generated_tokens(request)
            self._tenants[request.tenant].output_tokens += generated - counted
            if request in running:
                self._counted[request] = generated
            else:
                del self._counted[request]
        here = [tenant for tenant in self._tenants.values() if tenant.waiting and tenant not in self._comers]
        for tenant in self._comers:
            level = min(map(self._counter, here), default=None)
            if level is None and self._left_last is not None:
                level = self._counter(self._left_last)
            if level is not None:
                tenant.lift += max(level - self._counter(tenant), 0.0)
            here.append(tenant)
        self._comers = []

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Request]:
        return (entry[2] for entry in chain.from_iterable(tenant.waiting for tenant in self._tenants.values()))
