"""The replica with the least of something, found without looking at all of them."""

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from sim.routing import Candidates, ReplicaView

Load = Callable[[ReplicaView], float]


class Least:
    """A heap of replicas by load; of equals comes first who was chosen longest ago, then the lower index.

    Every change of a load pushes an entry, and one that no longer holds is dropped when it comes to the top, so that
    a choice costs O(log replicas). When most entries may be such, the heap is made anew.
    """

    def __init__(self, candidates: Candidates, load: Load) -> None:
        self._candidates = candidates
        self._load = load
        self._turns = 0
        self._chosen: dict[int, int] = {}  # by index: the turn of its latest choice
        self._replicas: dict[int, ReplicaView] = {}
        self._heap: list[tuple[float, int, int]] = []  # load, turn, index
        self._most = 0
        self._renew()
        candidates.watch(self._changed)

    def choose(self) -> ReplicaView:
        """The least loaded replica, which is then the one chosen last."""
        heap = self._heap
        while True:
            load, chosen, index = heap[0]
            replica = self._replicas[index]
            if replica.accepting and load == self._load(replica) and chosen == self._chosen.get(index, -1):
                break
            heappop(heap)
        self._chosen[index] = self._turns
        self._turns += 1
        self._changed(replica)
        return replica

    def _changed(self, replica: ReplicaView) -> None:
        if not replica.accepting:
            return
        self._replicas[replica.index] = replica
        heappush(self._heap, self._entry(replica))
        if len(self._heap) > self._most:
            self._renew()

    def _entry(self, replica: ReplicaView) -> tuple[float, int, int]:
        return self._load(replica), self._chosen.get(replica.index, -1), replica.index

    def _renew(self) -> None:
        members = self._candidates.members
        self._replicas = {replica.index: replica for replica in members}
        self._heap[:] = map(self._entry, members)
        heapify(self._heap)
        self._most = 8 * len(members) + 64
