"""The replica with the least of something, found without looking at all of them."""

from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace

from sim.routing import Candidates, ReplicaView

Load = Callable[[ReplicaView], float]


class Least:
    """A heap of replicas by load; of equals comes first who was chosen longest ago, then the lower index.

    Every change of a load pushes an entry, and one that is not its replica's latest is dropped when it comes to the
    top, so that a choice costs O(log replicas). A load may grow untold: then the latest entry is renewed at the top,
    which happens to those few that looked least loaded. When most entries may be old, the heap is made anew.
    With `pool`, only replicas of that pool count.
    """

    def __init__(self, candidates: Candidates, load: Load, pool: str | None = None) -> None:
        self._pool = pool
        self._candidates = candidates
        self._load = load
        self._turns = 0
        self._chosen: dict[int, int] = {}  # by index: the turn of its latest choice
        self._replicas: dict[int, ReplicaView] = {}
        self._latest: dict[int, tuple[float, int, int]] = {}
        self._heap: list[tuple[float, int, int]] = []  # load, turn, index
        self._most = 0
        self._renew()
        candidates.watch(self._changed)

    def choose(self) -> ReplicaView:
        """The least loaded replica, which is then the one chosen last."""
        heap = self._heap
        while True:
            index = heap[0][2]
            if heap[0] != self._latest.get(index):
                heappop(heap)
                continue
            replica = self._replicas[index]
            entry = self._entry(replica)
            if entry == heap[0]:
                break
            self._latest[index] = entry
            heapreplace(heap, entry)
        self._chosen[index] = self._turns
        self._latest[index] = entry = (entry[0], self._turns, index)
        heapreplace(heap, entry)
        self._turns += 1
        return replica

    @property
    def is_empty(self) -> bool:
        """Whether there is nobody to choose."""
        return not self._latest

    def _changed(self, replica: ReplicaView) -> None:
        if self._pool is not None and replica.pool != self._pool:
            return
        if not replica.accepting:
            self._latest.pop(replica.index, None)
            return
        entry = self._entry(replica)
        if entry == self._latest.get(replica.index):
            return
        self._replicas[replica.index] = replica
        self._latest[replica.index] = entry
        heappush(self._heap, entry)
        if len(self._heap) > self._most:
            self._renew()

    def _entry(self, replica: ReplicaView) -> tuple[float, int, int]:
        return self._load(replica), self._chosen.get(replica.index, -1), replica.index

    def _renew(self) -> None:
        members = [r for r in self._candidates.members if self._pool is None or r.pool == self._pool]
        self._replicas = {replica.index: replica for replica in members}
        self._latest = {replica.index: self._entry(replica) for replica in members}
        self._heap[:] = self._latest.values()
        heapify(self._heap)
        self._most = 8 * len(members) + 64
