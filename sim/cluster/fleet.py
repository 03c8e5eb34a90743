"""All replicas that ever were, when each of them held its GPUs, and which of them a router may choose."""

from collections.abc import Callable, Iterable

import numpy as np

from sim.cluster.pool import Pool
from sim.cluster.replica import Replica
from sim.record import LIFE, Columns
from sim.routing import ReplicaView


class Candidates:
    """The replicas that take requests now, in the order in which they joined."""

    def __init__(self) -> None:
        self.members: list[ReplicaView] = []
        self.wanted: list[Callable[[], None]] = []
        """Told when a request must wait, because nobody takes any."""
        self._watchers: list[Callable[[ReplicaView], None]] = []

    def watch(self, changed: Callable[[ReplicaView], None]) -> None:
        """Let a router know of every replica that joins or leaves, or whose load has changed."""
        self._watchers.append(changed)

    def changed(self, replica: ReplicaView) -> None:
        """Tell those who watch."""
        for tell in self._watchers:
            tell(replica)

    def join(self, replica: Replica) -> None:
        """From now on the replica gets requests."""
        replica.accepting = True
        replica.load_changed = self.changed
        self.members.append(replica)
        self.changed(replica)

    def leave(self, replica: Replica) -> None:
        """From now on it gets no more."""
        replica.accepting = False
        self.members.remove(replica)
        self.changed(replica)


class Fleet:
    """Replicas by their index, and what each of them did with its GPUs' time: loading, serving, down.

    A replica is made once, by `make(index, pool)`, and keeps its index when it restarts and when it is gone.
    """

    def __init__(self, pools: Iterable[Pool], make: Callable[[int, Pool], Replica]) -> None:
        self.pools = list(pools)
        self.replicas: list[Replica] = []
        self.pool_of: list[int] = []
        self.members: list[dict[int, None]] = [{} for _ in self.pools]
        """For each pool the indices of the replicas that are not gone."""
        self.serving = {pool.model: Candidates() for pool in self.pools}
        """Who takes requests as they arrive, for each model."""
        self.counters = {"crashes": 0, "requeued": 0}
        self.decoding = {pool.model: Candidates() for pool in self.pools if pool.role == "decode"}
        """Who takes requests whose prompt is computed elsewhere, for each model."""
        self._make = make
        self._states: list[tuple[int, int, float]] = []  # replica, what it does from then on, when

    def add(self, pool: int) -> Replica:
        """One replica more, which does nothing yet."""
        replica = self._make(len(self.replicas), self.pools[pool])
        self.replicas.append(replica)
        self.pool_of.append(pool)
        self.members[pool][replica.index] = None
        return replica

    def candidates(self, replica: Replica) -> Candidates:
        """Those whom a replica joins when it serves."""
        kind = replica.kind
        return self.decoding[kind.model] if kind.role == "decode" else self.serving[kind.model]

    def forsaken(self, candidates: Candidates) -> bool:
        """Whether none of these serves, and none ever will: all are gone, and nobody starts others."""
        pools = [index for index, pool in enumerate(self.pools) if self.serving.get(pool.model) is candidates]
        return not any(self.members[index] or self.pools[index].scaling is not None for index in pools)

    def note(self, replica: Replica, state: str, now_s: float) -> None:
        """What the replica does from now on; "gone" gives its GPUs back."""
        self._states.append((replica.index, LIFE.index(state), now_s))
        if state == "gone":
            del self.members[self.pool_of[replica.index]][replica.index]

    def facts(self) -> Columns:
        """One row for each replica."""
        engines = [replica.engine for replica in self.replicas]
        return {
            "pool": np.array(self.pool_of, np.int64),
            "gpus": np.array([self.pools[pool].gpus_per_replica for pool in self.pool_of], np.int64),
            "kv_blocks": np.array([engine.kv.num_blocks for engine in engines], np.int64),
            "block_size": np.array([engine.limits.block_size for engine in engines], np.int64),
            "kv_grows": np.array([engine.kv.grows for engine in engines], bool),
        }

    def lives(self, makespan_s: float) -> Columns:
        """One row for each stretch of a replica's life up to the makespan, by replica and time."""
        rows: list[tuple[int, int, float, float]] = []
        states = sorted(self._states, key=lambda state: state[0])  # stable: in order of time for each replica
        for (replica, state, since_s), following in zip(states, [*states[1:], None], strict=True):
            until_s = following[2] if following is not None and following[0] == replica else makespan_s
            until_s = min(until_s, makespan_s)
            if LIFE[state] != "gone" and until_s > since_s:
                rows.append((replica, state, since_s, until_s))
        columns = np.array(rows, np.float64).reshape(-1, 4).T
        return {
            "replica": columns[0].astype(np.int64),
            "state": columns[1].astype(np.int64),
            "start_s": columns[2],
            "end_s": columns[3],
        }
