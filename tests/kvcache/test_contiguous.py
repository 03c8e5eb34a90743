"""Contiguous reservation against a plain memory map, and the published count of sequences on a 40 GB A100."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim
from sim.errors import ScenarioError
from sim.kvcache.contiguous import Contiguous, ContiguousKVCache
from sim.kvcache.protocol import MISS, KVRoom
from sim.request import Request
from tests.serving import engine, steps_of

LONGEST, BLOCK = 40, 4


class MemoryMap:
    """Every block and who has it; a stretch goes to the first place where all its blocks are nobody's."""

    def __init__(self, blocks: int) -> None:
        self.owner: list[int | None] = [None] * blocks

    def place(self, blocks: int, step: int = 1) -> int | None:
        for first in range(0, len(self.owner) - blocks + 1, step):
            if all(owner is None for owner in self.owner[first : first + blocks]):
                return first
        return None


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_admission_as_on_a_memory_map(data: st.DataObject) -> None:
    reserve = data.draw(st.sampled_from(["max", "pow2", "oracle"]))
    buddies = data.draw(st.booleans())
    blocks = data.draw(st.integers(16, 40))
    cache = Contiguous(reserve, buddies).build(KVRoom(blocks, BLOCK, LONGEST, True))
    plain = MemoryMap(blocks)
    running: list[Request] = []
    for index in range(data.draw(st.integers(1, 60))):
        if running and data.draw(st.booleans()):
            leaver = running.pop(data.draw(st.integers(0, len(running) - 1)))
            cache.free(leaver)
            plain.owner = [None if owner == leaver.id else owner for owner in plain.owner]
        else:
            prompt = data.draw(st.integers(1, LONGEST - 1))
            request = Request(index, 0.0, prompt, data.draw(st.integers(1, LONGEST - prompt)))
            answer = {"max": LONGEST, "pow2": _power(request.output_tokens), "oracle": request.output_tokens}[reserve]
            needed = -(-min(prompt + answer, LONGEST) // BLOCK)
            needed = _power(needed) if buddies else needed
            first = plain.place(needed, needed if buddies else 1)
            assert cache.can_admit(request, MISS, prompt, 0) == (first is not None)
            if first is not None:
                cache.adopt(request, MISS)
                cache.grow(request, prompt)
                running.append(request)
                plain.owner[first : first + needed] = [request.id] * needed
                assert cache.taken[request] == (first, needed)
        assert cache.free_blocks == plain.owner.count(None)
        cache.check([(request, request.computed_tokens) for request in running])


def _power(tokens: int) -> int:
    power = 1
    while power < tokens:
        power *= 2
    return power


def test_the_papers_example_of_pow2() -> None:
    """An answer of 25 tokens reserves 32 positions (Kwon et al., SOSP 2023, section 6.1)."""
    cache = Contiguous("pow2").build(KVRoom(100, 1, 100, False))
    assert cache.whole_blocks(Request(0, 0.0, 10, 25)) == 10 + 32


def test_a_request_between_two_gaps_waits_though_their_sum_would_do() -> None:
    """Stretches of 4, 4 and 4 blocks; the first and the last leave, and 6 blocks have no place."""
    cache = Contiguous("oracle").build(KVRoom(12, 1, 12, False))
    a, b, c = (Request(id, 0.0, 3, 1) for id in range(3))
    for request in (a, b, c):
        cache.adopt(request, MISS)
    cache.free(a)
    cache.free(c)
    assert cache.free_blocks == 8
    assert not cache.can_admit(Request(3, 0.0, 5, 1), MISS, 5, 0)
    assert cache.can_admit(Request(4, 0.0, 3, 1), MISS, 3, 0)
    cache.free(b)
    assert cache.gaps == [(0, 12)]


def test_nobody_is_preempted_and_seats_are_bound_by_memory() -> None:
    requests = [Request(id, 0.0, 5, 20) for id in range(5)]
    replica = engine(kv_cache=Contiguous(), block_size=4, num_gpu_blocks=21, max_model_len=40)
    plans = steps_of(replica, requests)
    assert isinstance(replica.kv, ContiguousKVCache)
    assert [request.preemptions for request in requests] == [0] * 5
    assert [len(plan.admitted) for plan in plans if plan.admitted] == [2, 2, 1]  # 20 blocks, 10 for each


def test_a_room_too_small_for_the_longest_request_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"lower engine\.max_model_len"):
        Contiguous().build(KVRoom(9, 4, 40, True))


OPT = {
    "model": "opt-13b",
    "cluster": {"gpu": "a100-40g"},
    "engine": {"max_model_len": 2048, "gpu_memory_utilization": 0.9},
    "workload": {
        "arrivals": {"all_at_once": {}},
        "prompt_tokens": {"lognormal": {"mean": 161, "p99": 800}},
        "output_tokens": {"lognormal": {"mean": 338, "p99": 1200}},
        "requests": 60,
    },
}


def test_opt_13b_on_a_40_gb_a100_holds_seven_sequences() -> None:
    """Orca (Max): 12 GB of KV memory, 15.7K slots, 7 sequences of 2048 (Kwon et al., SOSP 2023, table 1, fig. 13)."""
    most = {
        reserve: sim.run(OPT, overrides=[f"engine.kv_cache={{contiguous: {{reserve: {reserve}}}}}"]).summary
        for reserve in ("max", "pow2", "oracle")
    }
    paged = sim.run(OPT).summary
    assert most["max"]["batch_size_peak"] == 7
    assert 7 < most["pow2"]["batch_size_peak"] < most["oracle"]["batch_size_peak"] < paged["batch_size_peak"]
    # The paper finds 20% of the reserved KV memory in use under Orca (Max), 96% under paging (fig. 2).
    assert 1 - most["max"]["kv_unused_share"] == pytest.approx(0.2, abs=0.05)
    assert paged["kv_unused_share"] < 0.04
