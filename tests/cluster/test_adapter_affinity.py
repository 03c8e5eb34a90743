"""What hashing with bounded loads promises of the router for LoRA adapters."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sim.request import NO_ADAPTER, Request
from sim.routing import ReplicaView
from sim.routing.adapter_affinity import AdapterAffinity


@dataclass
class Replica:
    index: int
    outstanding_requests: int = 0
    pool: str = ""
    accepting: bool = True
    outstanding_tokens: int = 0


@dataclass
class Members:
    members: list[ReplicaView] = field(default_factory=list)

    def watch(self, changed: Any) -> None:
        raise NotImplementedError


def wants(adapter: int) -> Request:
    request = Request(0, 0.0, 5, 5)
    request.adapter = adapter
    return request


def homes(members: Members, adapters: int) -> list[int]:
    choose = AdapterAffinity(1e9).start(np.random.default_rng(0), members)
    return [choose(wants(adapter)).index for adapter in range(adapters)]


def test_each_adapter_has_a_home_and_few_move() -> None:
    """Without a bound an adapter's home stays; when a replica leaves, only its own adapters move."""
    members = Members([Replica(index) for index in range(5)])
    before = homes(members, 500)
    assert before == homes(members, 500)
    assert min(np.bincount(before, minlength=5)) > 60
    members.members.pop(2)
    after = homes(members, 500)
    assert all(new == old for new, old in zip(after, before, strict=True) if old != 2)
    assert 2 not in after


def test_no_replica_is_loaded_beyond_the_bound() -> None:
    """One adapter alone: 100 requests over 4 replicas, none of which gets more than 1.25 times 25, rounded up."""
    replicas = [Replica(index) for index in range(4)]
    choose = AdapterAffinity(1.25).start(np.random.default_rng(0), Members([*replicas]))
    for _ in range(100):
        chosen: Any = choose(wants(7))
        chosen.outstanding_requests += 1
    loads = sorted(replica.outstanding_requests for replica in replicas)
    assert sum(loads) == 100
    assert loads[-1] <= 32
    assert loads[0] < 20  # they fill up one after another, not evenly


def test_the_model_itself_goes_to_the_least_loaded() -> None:
    members = Members([Replica(0, 3), Replica(1, 1), Replica(2, 1)])
    choose = AdapterAffinity().start(np.random.default_rng(0), members)
    assert choose(wants(NO_ADAPTER)).index == 1
