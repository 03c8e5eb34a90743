"""What each router chooses, by hand-made replicas."""

from collections import Counter
from math import ceil, log2
from typing import Any

import numpy as np
import pytest

from sim.routing._index import PrefixIndex
from sim.routing.cache_aware import CacheAware
from sim.routing.consistent_hash import ConsistentHash
from sim.routing.kv_cost import KvCost
from sim.routing.least_kv_use import LeastKvUse
from sim.routing.least_outstanding import LeastOutstanding
from sim.routing.least_outstanding_tokens import LeastOutstandingTokens
from sim.routing.length_split import LengthSplit
from sim.routing.power_of_two import PowerOfTwo
from sim.routing.prefix_aware import PrefixAware
from sim.routing.round_robin import RoundRobin
from sim.routing.session_affinity import SessionAffinity
from sim.routing.slo_aware import SloAware
from sim.routing.weighted_score import WeightedScore
from tests.routing.fakes import FakeCandidates, FakeReplica, fleet, request, shared


def start(router: Any, candidates: FakeCandidates) -> Any:
    return router.start(np.random.default_rng(0), candidates)


def test_round_robin_looks_at_nobody() -> None:
    candidates = fleet(1000)
    choose = start(RoundRobin(), candidates)
    assert [choose(request(i)).index for i in range(1001)] == [*range(1000), 0]
    assert not candidates.members[0].looks


def test_the_least_loaded_of_a_thousand_costs_a_few_looks() -> None:
    """At most log2(1,000) looks for a request, while requests come and go at random."""
    candidates = fleet(1000)
    choose = start(LeastOutstanding(), candidates)
    looks = candidates.members[0].looks
    looks.clear()
    rng = np.random.default_rng(1)
    for i in range(5000):
        candidates.send(choose(request(i)))
        done = candidates.members[int(rng.integers(1000))]
        if done.requests:
            done.requests -= 1
            candidates.changed(done)
    assert looks.total() / 5000 < log2(1000)


def test_power_of_two_looks_at_two() -> None:
    candidates = fleet(1000)
    choose = start(PowerOfTwo(), candidates)
    for i in range(100):
        choose(request(i))
    assert candidates.members[0].looks.total() == 200


def test_power_of_two_takes_the_better() -> None:
    """Of three replicas the most loaded is never the better of two; each of the others is chosen in its turn."""
    candidates = fleet(3)
    for replica in candidates.members:
        replica.requests = replica.index
    counts = Counter(start(PowerOfTwo(), candidates)(request(0)).index for _ in range(1))
    choose = start(PowerOfTwo(), candidates)
    counts = Counter(choose(request(i)).index for i in range(3000))
    assert counts[2] == 0
    assert counts[0] / 3000 == pytest.approx(2 / 3, abs=0.04)  # two of the three pairs have it


def test_least_tokens_and_least_kv() -> None:
    candidates = FakeCandidates([FakeReplica(0, outstanding_tokens=5), FakeReplica(1, outstanding_tokens=4)])
    assert start(LeastOutstandingTokens(), candidates)(request(0)).index == 1
    candidates = FakeCandidates([FakeReplica(0, kv_used_share=0.2), FakeReplica(1, kv_used_share=0.3)])
    choose = start(LeastKvUse(), candidates)
    assert choose(request(0)).index == 0
    candidates.members[0].kv_used_share = 0.4  # grown by decoding, which nobody tells
    assert choose(request(1)).index == 1


def test_a_key_keeps_its_replica_when_others_come_and_go() -> None:
    candidates = fleet(10)
    choose = start(ConsistentHash(key="tenant", load_factor=None), candidates)
    before = {tenant: choose(request(tenant, tenant=tenant)).index for tenant in range(1000)}
    candidates.leave(candidates.members[3])
    after = {tenant: choose(request(tenant, tenant=tenant)).index for tenant in range(1000)}
    assert all(after[tenant] == index for tenant, index in before.items() if index != 3)
    assert 3 not in after.values()
    candidates.join(FakeReplica(3))
    assert {tenant: choose(request(tenant, tenant=tenant)).index for tenant in range(1000)} == before
    counts = Counter(before.values())
    assert max(counts.values()) < 2 * 100  # a hundred points each: shares within some tens of percent


def test_prompts_that_begin_alike_share_a_replica() -> None:
    choose = start(ConsistentHash(prefix_tokens=30, load_factor=None), fleet(10))
    first = [choose(shared(i, "a", 30, 70 + i)).index for i in range(20)]
    assert len(set(first)) == 1
    assert len({choose(shared(i, "a", 29, 70)).index for i in range(50)}) > 5  # the 30th token is their own
    assert len({choose(request(i)).index for i in range(50)}) > 5


@pytest.mark.parametrize("factor", [1.25, 2.0])
def test_nobody_gets_more_than_the_bound(factor: float) -> None:
    """One hot key: no load ever exceeds ceil(c (m + 1) / n) (Mirrokni et al.)."""
    candidates = fleet(8)
    choose = start(ConsistentHash(load_factor=factor), candidates)
    for i in range(400):
        candidates.send(choose(shared(i, "hot", 100, 10)))
        loads = [replica.requests for replica in candidates.members]
        assert max(loads) <= ceil(factor * (i + 1) / 8)
    assert sorted(loads)[-1] == ceil(factor * 400 / 8)


def test_a_session_stays_and_a_stranger_goes_to_the_idlest() -> None:
    candidates = fleet(4)
    candidates.members[2].requests = -1
    choose = start(SessionAffinity(load_factor=None), candidates)
    assert len({choose(request(i, session=7)).index for i in range(10)}) == 1
    assert len({choose(request(i, session=i)).index for i in range(50)}) == 4
    assert choose(request(0)).index == 2


def test_the_index_forgets_the_tail_first() -> None:
    """Blocks of 10: two prompts share 30 tokens; three blocks of room keep what was used last, from its beginning."""
    candidates = fleet(6)
    index = PrefixIndex(candidates, 10, 3)  # type: ignore[arg-type]
    first, second = (index.keys(shared(i, "a", 30, 25)) for i in range(2))
    assert (len(first), first[:3]) == (5, second[:3])
    index.sent(4, first)
    assert index.match(first) == {4: 3}
    index.sent(5, second)
    assert index.match(second) == {4: 3, 5: 3}
    index.sent(4, index.keys(shared(9, "b", 20, 5)))
    assert index.match(first) == {4: 1, 5: 3}
    assert index.size(4) == 3
    assert index.match(index.keys(request(3))) == {}
    candidates.leave(candidates.members[5])  # and its cache with it
    assert index.match(first) == {4: 1}


def test_cache_aware_follows_the_prefix_unless_out_of_balance() -> None:
    candidates = fleet(3)
    choose = start(CacheAware(balance_abs_threshold=4), candidates)
    home = choose(shared(0, "a", 96, 10))
    other = choose(shared(1, "b", 960, 10))  # where the fewest blocks were sent
    assert other is not home
    for i in range(2, 7):
        assert choose(shared(i, "a", 96, 10)) is home
        candidates.send(home)
    assert home.requests == 5  # more than 4 above the others, and than 1.5 times them
    away = choose(shared(8, "a", 96, 10))
    assert away is not home
    assert choose(shared(9, "c", 16, 96)).requests == 0  # 16 of 112 are not enough to follow


def test_prefix_aware_asks_the_caches() -> None:
    members = [FakeReplica(0, cached=40), FakeReplica(1, cached=64, requests=3), FakeReplica(2)]
    choose = start(PrefixAware(), FakeCandidates(members))
    assert choose(request(0)).index == 1
    members[0].cached = 64
    assert choose(request(0)).index == 0  # of equals the less loaded
    assert start(PrefixAware(cache_threshold=0.7), FakeCandidates(members))(request(0)).index == 0
    members[0].requests = 1
    assert start(PrefixAware(cache_threshold=0.7), FakeCandidates(members))(request(0)).index == 2
    assert start(PrefixAware(balance_abs_threshold=2), FakeCandidates(members))(request(0)).index == 2


def test_weighted_score_adds_up_as_llm_d() -> None:
    """Prefix 3 * cached / prompt, queue 2 * (max - own) / (max - min), KV use 2 * (1 - share).

    First: 3 * 0.8 + 0 + 2 * 0.2 = 2.8; second: 0 + 2 + 2 * 0.5 = 3; third: 3 * 0.4 + 2 * 0.5 + 2 * 0.5 = 3.2.
    """
    members = [
        FakeReplica(0, cached=80, waiting_requests=4, kv_used_share=0.8),
        FakeReplica(1, cached=0, waiting_requests=0, kv_used_share=0.5),
        FakeReplica(2, cached=40, waiting_requests=2, kv_used_share=0.5),
    ]
    assert start(WeightedScore(prefixes="exact"), FakeCandidates(members))(request(0)).index == 2
    assert start(WeightedScore(prefixes="exact", prefix=6), FakeCandidates(members))(request(0)).index == 0
    assert start(WeightedScore(prefix=0), FakeCandidates(members))(request(0)).index == 1
    approximate = start(WeightedScore(), fleet(4))
    home = approximate(shared(0, "a", 160, 10))
    assert all(approximate(shared(i, "a", 160, 10)) is home for i in range(1, 10))


def test_ties_of_scores_are_broken_at_random() -> None:
    choose = start(WeightedScore(), fleet(4))
    counts = Counter(choose(request(i)).index for i in range(400))
    assert len(counts) == 4 and max(counts.values()) < 150


def test_kv_cost_counts_blocks_as_dynamo() -> None:
    """A prompt of 10 blocks; costs 8 + 10, 5 + 12 and 2 + 21; with twice the weight on prefill 26, 22 and 25."""
    members = [
        FakeReplica(0, cached=32),
        FakeReplica(1, cached=80, kv_used_blocks=2),
        FakeReplica(2, cached=128, kv_used_blocks=11),
    ]
    candidates = FakeCandidates(members)
    assert start(KvCost(), candidates)(request(0, 160)).index == 1
    assert start(KvCost(overlap_score_weight=0), candidates)(request(0, 160)).index == 0
    assert start(KvCost(overlap_score_weight=10), candidates)(request(0, 160)).index == 2
    choose = start(KvCost(temperature=1.0), candidates)
    counts = Counter(choose(request(i, 160)).index for i in range(6000))
    # Scaled costs (18, 17, 23) -> (1/6, 0, 1): chances in proportion to exp(-1/6), 1, exp(-1).
    weights = np.exp([-1 / 6, 0, -1])
    assert [counts[i] / 6000 for i in range(3)] == pytest.approx((weights / weights.sum()).tolist(), abs=0.025)


def test_length_split() -> None:
    members = [FakeReplica(0, pool="short"), FakeReplica(1, pool="long"), FakeReplica(2, pool="long")]
    candidates = FakeCandidates(members)
    choose = start(LengthSplit((100,), ("short", "long")), candidates)
    assert [choose(request(i, tokens)).index for i, tokens in enumerate((100, 101, 5, 500))] == [0, 1, 0, 2]
    assert start(LengthSplit((100,), ("short", "long"), "total"), candidates)(request(0, 91)).pool == "long"
    candidates.leave(members[0])
    assert choose(request(9, 5)).pool == "long"
    with pytest.raises(ValueError, match="one pool more"):
        LengthSplit((100,), ("a",))


def test_slo_aware_prefers_who_should_meet_the_targets() -> None:
    """Steps of 10 ms + 0.1 ms a prompt token + 1 ms a decode; budget 1,000 tokens.

    First: 100 tokens beside nobody: 20 ms. Second: 900 waiting before, 40 decodes: 960 and 40 tokens in two steps of
    10 + 96 + 40 and 10 + 4 + 40 ms: 200 ms. TPOT: 11 and 51 ms.
    """
    idle, busy = FakeReplica(0), FakeReplica(1, prefill_tokens=900, running_requests=40)
    candidates = FakeCandidates([busy, idle])
    assert start(SloAware(ttft=0.5, tpot=0.1), candidates)(request(0)) is idle
    assert start(SloAware(ttft=0.5, tpot=0.1, headroom="least"), candidates)(request(0)) is busy
    assert start(SloAware(ttft=0.19, tpot=0.1, headroom="least"), candidates)(request(0)) is idle
    assert start(SloAware(ttft=0.21, tpot=0.052, headroom="least"), candidates)(request(0)) is busy
    assert start(SloAware(ttft=0.5, tpot=0.04, headroom="least"), candidates)(request(0)) is idle
    assert start(SloAware(ttft=0.01, tpot=0.01), candidates)(request(0)) is idle
