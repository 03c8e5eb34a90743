"""Replicas that say what a test lets them say, and count who looks."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from sim.latency.linear import Linear
from sim.request import Request, Segments
from sim.routing import ReplicaView


class FakeReplica:
    """A view of given numbers; `looks` counts how often each of its loads was read."""

    def __init__(self, index: int, looks: Counter[int] | None = None, **numbers: Any) -> None:
        self.index = index
        self.pool = ""
        self.accepting = True
        self.looks: Counter[int] = Counter() if looks is None else looks
        self.requests = self.outstanding_tokens = 0
        self.running_requests = self.waiting_requests = 0
        self.kv_used_blocks = self.context_tokens = self.prefill_tokens = 0
        self.kv_used_share = 0.0
        self.block_size = 16
        self.token_budget = 1000
        self.step_timer = Linear(base_s=0.01, per_prefill_token_s=1e-4, per_decode_s=1e-3).build()
        self.cached = 0
        for name, value in numbers.items():
            setattr(self, name, value)

    @property
    def outstanding_requests(self) -> int:
        self.looks[self.index] += 1
        return self.requests

    def cached_tokens(self, request: Request) -> int:
        return self.cached


class FakeCandidates:
    """Members that a test changes."""

    def __init__(self, members: list[Any]) -> None:
        self.members = members
        self.watchers: list[Callable[[ReplicaView], None]] = []

    def watch(self, changed: Callable[[ReplicaView], None]) -> None:
        self.watchers.append(changed)

    def changed(self, replica: Any) -> None:
        for tell in self.watchers:
            tell(replica)

    def leave(self, replica: Any) -> None:
        replica.accepting = False
        self.members.remove(replica)
        self.changed(replica)

    def join(self, replica: Any) -> None:
        self.members.append(replica)
        self.changed(replica)

    def send(self, replica: Any) -> None:
        replica.requests += 1
        self.changed(replica)


def fleet(count: int, **numbers: Any) -> FakeCandidates:
    """Equal replicas, whose looks are counted together."""
    looks: Counter[int] = Counter()
    return FakeCandidates([FakeReplica(index, looks, **numbers) for index in range(count)])


def request(id: int, prompt: int = 100, segments: Segments | None = None, **columns: Any) -> Request:
    """A request that arrives at 0."""
    return Request(id, 0.0, prompt, 10, segments=segments, **columns)


def shared(id: int, group: str, shared_tokens: int, own_tokens: int) -> Request:
    """A prompt that begins as all of its group."""
    return request(id, shared_tokens + own_tokens, ((group, shared_tokens), (("own", id), own_tokens)))
