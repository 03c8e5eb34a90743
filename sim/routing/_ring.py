"""Consistent hashing with bounded loads: a key stays with its replica while others come and go, unless that is full.

Source: Mirrokni, Thorup, Zadimoghaddam, Consistent Hashing with Bounded Loads, SODA 2018: nobody gets more than
`load_factor` times the mean load; what would be beyond goes to the next on the ring.
"""

from bisect import bisect_right, insort
from collections.abc import Hashable
from hashlib import blake2b
from math import ceil

from sim.routing import Candidates, ReplicaView

_POINTS = 100
"""Of each replica on the ring: its share of the keys then varies by about a tenth."""


def place_of(key: Hashable) -> int:
    """Where a key lies on the ring: the same in every process, which Python's own hash is not."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest())


class Ring:
    """Replicas on a ring, each at a hundred places, with how many requests each of them has."""

    def __init__(self, candidates: Candidates, load_factor: float | None) -> None:
        self._load_factor = load_factor
        self._points: list[tuple[int, int]] = []  # place, index of the replica
        self._replicas: dict[int, ReplicaView] = {}
        self._loads: dict[int, int] = {}
        self._load = 0
        for replica in candidates.members:
            self._changed(replica)
        candidates.watch(self._changed)

    def choose(self, key: Hashable) -> ReplicaView:
        """The first replica behind the key's place that is not full; the first of all without a bound."""
        points = self._points
        first = bisect_right(points, (place_of(key), -1))
        most = None
        if self._load_factor is not None:
            most = ceil(self._load_factor * (self._load + 1) / len(self._replicas))
        full: set[int] = set()
        for step in range(len(points)):
            index = points[(first + step) % len(points)][1]
            if most is None or self._loads[index] < most:
                return self._replicas[index]
            full.add(index)
            if len(full) == len(self._replicas):
                break
        return self._replicas[points[first % len(points)][1]]

    def _changed(self, replica: ReplicaView) -> None:
        index = replica.index
        if replica.accepting and index not in self._replicas:
            self._replicas[index] = replica
            self._loads[index] = 0
            for point in range(_POINTS):
                insort(self._points, (place_of((index, point)), index))
        elif not replica.accepting and index in self._replicas:
            self._load -= self._loads.pop(index)
            del self._replicas[index]
            self._points = [point for point in self._points if point[1] != index]
        if index in self._loads:
            self._load += replica.outstanding_requests - self._loads[index]
            self._loads[index] = replica.outstanding_requests
