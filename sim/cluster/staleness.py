"""Routers that know the replicas' state as it was a while ago: snapshots on a grid of time.

Real gateways scrape their replicas' metrics every so often and hear of KV blocks with a delay. Here everything that
a router may know of a replica is refreshed at every multiple of one period, and else stays as it was; who there is to
choose from is always known. A refresh is an event only while something may have changed.
"""

from collections.abc import Callable
from math import floor
from operator import attrgetter

import simpy

from sim.cluster.clock import SNAPSHOT_AFTER_STEPS_ORDER, SNAPSHOT_ORDER, At
from sim.cluster.fleet import Candidates as LiveCandidates
from sim.cluster.watched import Watched
from sim.errors import ServecastError
from sim.kvcache.protocol import CachedContent
from sim.latency import StepTimer
from sim.request import Request
from sim.routing import Candidates, ReplicaView

_STATE = (
    "outstanding_requests", "outstanding_tokens", "running_requests", "waiting_requests", "kv_used_blocks",
    "kv_used_share", "context_tokens", "prefill_tokens", "step_timer",
)  # fmt: skip
_read = attrgetter(*_STATE)


def as_seen(
    env: simpy.Environment, live: LiveCandidates, period_s: float, after_steps: bool, with_caches: bool
) -> Candidates:
    """The candidates as routers see them; `after_steps`: requests arrive after steps that end at the same time."""
    if not period_s:
        return live
    order = SNAPSHOT_AFTER_STEPS_ORDER if after_steps else SNAPSHOT_ORDER
    return StaleCandidates(env, live, period_s, order, with_caches)


class Snapshot:
    """A replica as it was when it was last looked at."""

    outstanding_requests: int
    outstanding_tokens: int
    running_requests: int
    waiting_requests: int
    kv_used_blocks: int
    kv_used_share: float
    context_tokens: int
    prefill_tokens: int
    step_timer: StepTimer

    def __init__(self, replica: Watched, with_caches: bool) -> None:
        self.index = replica.index
        self.pool = replica.pool
        self.block_size = replica.block_size
        self.token_budget = replica.token_budget
        self._replica = replica
        self._with_caches = with_caches
        self._content: CachedContent | None = None
        self.refresh()

    @property
    def accepting(self) -> bool:
        """As it is now."""
        return self._replica.accepting

    def refresh(self) -> None:
        """Look again."""
        self.__dict__.update(zip(_STATE, _read(self._replica), strict=True))
        if self._with_caches:
            self._content = self._replica.cached_content()

    def cached_tokens(self, request: Request) -> int:
        """How many of the request's first tokens the KV cache held."""
        if self._content is None:
            raise ServecastError(
                "this router asks what KV caches hold, and does not say so: with router_staleness it needs the class "
                "attribute `knows_caches = True`"
            )
        return self._content.lookup(request).tokens


class StaleCandidates:
    """Snapshots of the replicas that take requests now."""

    def __init__(
        self, env: simpy.Environment, live: LiveCandidates, period_s: float, order: int, with_caches: bool
    ) -> None:
        self._env = env
        self._period_s = period_s
        self._order = order
        self._with_caches = with_caches
        self._watchers: list[Callable[[ReplicaView], None]] = []
        self._changed: dict[int, Watched] = {}  # since they were looked at, or about to
        self._armed = False
        self._snapshots: dict[int, Snapshot] = {}
        self.members: list[ReplicaView] = []
        for replica in live.members:
            self._heard(replica)
        live.watch(self._heard)

    def watch(self, changed: Callable[[ReplicaView], None]) -> None:
        """Let a router know of every replica that joins or leaves, and of every new snapshot."""
        self._watchers.append(changed)

    def _heard(self, view: ReplicaView) -> None:
        assert isinstance(view, Watched)
        snapshot = self._snapshots.get(view.index)
        if view.accepting and snapshot is None:
            snapshot = self._snapshots[view.index] = Snapshot(view, self._with_caches)
            self.members.append(snapshot)
            self._tell(snapshot)
        elif not view.accepting and snapshot is not None:
            del self._snapshots[view.index]
            self._changed.pop(view.index, None)
            self.members.remove(snapshot)
            self._tell(snapshot)
            return
        if view.accepting:
            self._changed[view.index] = view
            self._arm()

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            tick = floor(self._env.now / self._period_s) + 1
            if tick * self._period_s <= self._env.now:  # by rounding
                tick += 1
            At(self._env, tick * self._period_s, self._order).callbacks.append(self._refresh)

    def _refresh(self, _event: simpy.Event) -> None:
        self._armed = False
        seen, self._changed = self._changed, {}
        for index, replica in seen.items():
            snapshot = self._snapshots[index]
            snapshot.refresh()
            if replica.outstanding_requests:
                self._changed[index] = replica  # it will go on changing
            self._tell(snapshot)
        if self._changed:
            self._arm()

    def _tell(self, snapshot: Snapshot) -> None:
        for tell in self._watchers:
            tell(snapshot)
