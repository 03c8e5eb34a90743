"""Longest cached prefix first, as SGLang's `lpm`."""

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sim.engine import Engine
from sim.request import Request


@dataclass(frozen=True)
class LongestPrefixMatch:
    """The request of whose prompt the prefix cache holds most goes first, then the earlier arrival.

    Rules and numbers are those of SGLang's schedule_policy.py: with more than `longest_queue` requests waiting
    it is fcfs, because a look-up for each of them costs too much. Of requests that find at most `check_tokens`
    in the cache and share at least `share_tokens` with one before them in the queue, all but that one go to
    the back, so that it computes what the others then find. The latest admitted is preempted first.

        arrivals  a1 b1 b2 c1 a2 a3    one seat; prompts of one letter share 64 tokens
        order     a1 a2 a3 b1 b2 c1    a's are found once a1 has run; then as b's are
    """

    longest_queue: Annotated[int, Field(ge=0)] = 128
    """With more requests waiting it is first come, first served."""
    check_tokens: Annotated[int, Field(ge=-1)] = 32
    """Who finds at most so many tokens in the cache is compared with those before; -1: nobody."""
    share_tokens: Annotated[int, Field(ge=1)] = 32
    """Who shares at least so many tokens with one before goes to the end."""

    def queue(self, engine: Engine) -> "PrefixQueue":
        """The queue of one replica."""
        return PrefixQueue(self, engine)

    def victim(self, running: list[Request]) -> Request:
        """The last of the running list."""
        return running[-1]


class PrefixQueue:
    """Requests by arrival, and, for the step that is being decided, by what the cache holds of them."""

    rearranges = True

    def __init__(self, order: LongestPrefixMatch, engine: Engine) -> None:
        self._order = order
        self._engine = engine
        self._by_arrival: list[tuple[float, int, Request]] = []
        self._next: list[Request] = []  # the last is next; empty: by arrival

    @property
    def head(self) -> Request:
        """The first by the latest look at the cache."""
        return self._next[-1] if self._next else self._by_arrival[0][2]

    def push(self, request: Request) -> bool:
        """Let a request wait; it could be the next, which only a look at the cache can tell."""
        insort(self._by_arrival, (request.arrival_s, request.id, request))
        if self._next:
            self._next.insert(0, request)
        return self._engine.has_seat

    def pop(self) -> Request:
        """Take out the head."""
        request = self.head
        self.remove(request)
        return request

    def remove(self, request: Request) -> None:
        """Take out any request that waits."""
        del self._by_arrival[bisect_left(self._by_arrival, (request.arrival_s, request.id))]
        if self._next:
            if self._next[-1] is request:
                self._next.pop()
            else:
                self._next.remove(request)

    def refresh(self) -> None:
        """Look into the cache for everybody, unless no seat is free or the queue is too long."""
        self._next = []
        if not self._engine.has_seat or not 1 < len(self._by_arrival) <= self._order.longest_queue:
            return
        found = self._found()
        self._next = sorted(self, key=lambda request: -found[request])  # equal ones stay in order of arrival
        self._next.reverse()

    def _found(self) -> dict[Request, float]:
        """Cached tokens of every request; minus infinity for those that let another compute first."""
        order, kv = self._order, self._engine.kv
        seen: set[Hashable] = set()
        found: dict[Request, float] = {}
        for _, _, request in self._by_arrival:
            tokens = found[request] = kv.lookup(request).tokens
            beginning = None if tokens > order.check_tokens else kv.beginning(request, order.share_tokens)
            if beginning is None:
                continue
            if beginning in seen:
                found[request] = float("-inf")
            seen.add(beginning)
        return found

    def __len__(self) -> int:
        return len(self._by_arrival)

    def __iter__(self) -> Iterator[Request]:
        return (request for _, _, request in self._by_arrival)
