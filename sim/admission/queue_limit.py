"""No more requests at a time than the queue may hold."""

from dataclasses import dataclass
from math import inf

from sim.admission import Admits, Door
from sim.request import Request
from sim.routing import Candidates, ReplicaView
from sim.workload.fields import Count


@dataclass(frozen=True)
class QueueLimit:
    """Refuses a request while `outstanding` others have not ended, or `waiting` are in queues, in all.

    With `..._per_replica`, while every replica has that many: a router that looks at their load then keeps each of
    them within the limit (the saturation detector of llm-d's gateway works so). Only replicas that take requests
    count; requests held at the gateway, because no replica takes any, count in all and for none.
    """

    outstanding: Count | None = None
    """Most requests that have not ended, in all. E.g. `500`."""
    waiting: Count | None = None
    """Most requests in queues, in all. E.g. `100`."""
    outstanding_per_replica: Count | None = None
    """Most requests that have not ended, at every replica. E.g. `256`."""
    waiting_per_replica: Count | None = None
    """Most requests in the queue, at every replica. E.g. `16`."""

    def __post_init__(self) -> None:
        limits = (self.outstanding, self.waiting, self.outstanding_per_replica, self.waiting_per_replica)
        if all(limit is None for limit in limits):
            raise ValueError(
                "queue_limit needs a limit: outstanding, waiting, outstanding_per_replica or waiting_per_replica"
            )

    def start(self, door: Door) -> Admits:
        """A judge that looks at the replicas' load."""
        members = door.candidates.members
        outstanding = inf if self.outstanding is None else self.outstanding
        waiting = inf if self.waiting is None else self.waiting
        each = inf if self.outstanding_per_replica is None else self.outstanding_per_replica
        each_waiting = inf if self.waiting_per_replica is None else self.waiting_per_replica
        total = None if self.outstanding is None else _Outstanding(door.candidates)

        def has_room(replica: ReplicaView) -> bool:
            return replica.outstanding_requests < each and replica.waiting_requests < each_waiting

        def admits(_request: Request, _now_s: float) -> bool:
            held = door.held_requests
            if total is not None and total.count + held >= outstanding:
                return False
            if waiting < inf and sum(replica.waiting_requests for replica in members) + held >= waiting:
                return False
            return not members or any(map(has_room, members))

        return admits


class _Outstanding:
    """How many requests all replicas have together, kept up to date without looking at all of them."""

    def __init__(self, candidates: Candidates) -> None:
        self.count = 0
        self._of: dict[int, int] = {}
        for replica in candidates.members:
            self._changed(replica)
        candidates.watch(self._changed)

    def _changed(self, replica: ReplicaView) -> None:
        now = replica.outstanding_requests if replica.accepting else 0
        self.count += now - self._of.get(replica.index, 0)
        self._of[replica.index] = now
