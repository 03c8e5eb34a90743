"""The requests that wait, and who of them is next."""

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import Protocol

from sim.request import Request


class WaitingQueue(Protocol):
    """The queue of one replica.

    `rearranges` says that the head may change without anyone coming or going. The engine then calls `refresh`
    before every step that it decides, and takes only one step at a time while a request waits for a free seat.
    """

    rearranges: bool

    @property
    def head(self) -> Request:
        """Who is next; at least one must wait."""
        ...

    def push(self, request: Request) -> bool:
        """Let an arriving or a preempted request wait; True if a run of steady steps must end for it.

        That the newcomer is the head need not be said.
        """
        ...

    def pop(self) -> Request:
        """Take out the head."""
        ...

    def remove(self, request: Request) -> None:
        """Take out any request that waits."""
        ...

    def refresh(self) -> None:
        """Find the head anew."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Request]: ...


Key = Callable[[Request], tuple[float, ...]]


class KeyQueue:
    """A queue in the order of a key that each request gets once, when it comes: a heap."""

    __slots__ = ("_heap", "_key")

    rearranges = False

    def __init__(self, key: Key) -> None:
        self._key = key
        self._heap: list[tuple[tuple[float, ...], Request]] = []

    @property
    def head(self) -> Request:
        """The request with the smallest key."""
        return self._heap[0][1]

    def push(self, request: Request) -> bool:
        """Let a request wait; nothing but a new head can matter."""
        heappush(self._heap, (self._key(request), request))
        return False

    def pop(self) -> Request:
        """Take out the head."""
        return heappop(self._heap)[1]

    def remove(self, request: Request) -> None:
        """Take out any request that waits."""
        self._heap = [entry for entry in self._heap if entry[1] is not request]
        heapify(self._heap)

    def refresh(self) -> None:
        """Nothing to do: keys do not change."""

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Request]:
        """The requests, in no order that means anything."""
        return (request for _, request in self._heap)
