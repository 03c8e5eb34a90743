"""Layers with a sliding window: KV cache groups, what they keep, free and find again, against numbers of vLLM."""

import random
from typing import Any

import pytest

from sim import hardware
from sim.errors import CapacityError
from sim.kvcache._hybrid import HybridKVCache, HybridPaged
from sim.kvcache.capacity import HybridMemorySplit, split_memory
from sim.kvcache.groups import KVGroups, kv_groups
from sim.kvcache.paged import Block
from sim.kvcache.protocol import MISS, KVRoom
from sim.models.config import parse
from sim.models.model import Model
from sim.request import Request
from tests.models.configs import GEMMA_2_9B, MISTRAL_V01
from tests.serving import engine, steps_of


def layers(full: int, sliding: int, window: int = 1024, **facts: int) -> Model:
    shape: dict[str, Any] = {
        "hidden": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "intermediate": 128, "vocab": 1000, **facts,
    }  # fmt: skip
    return Model("toy", "toy", full + sliding, max_position=1 << 20, sliding_window=window, sliding_layers=sliding,
                 **shape)  # fmt: skip


@pytest.mark.parametrize(
    ("full", "sliding", "expected"),
    [  # layers of a group, full groups, sliding groups
        (10, 20, (10, 1, 2)),  # the example of vLLM's docs/design/hybrid_kv_cache_manager.md
        (10, 52, (10, 1, 6)),  # Gemma 3 27B there: the last group has 2 layers and 8 of padding
        (21, 21, (21, 1, 1)),  # Gemma 2 9B
        (13, 12, (13, 1, 1)),  # gpt-oss-20b with an EAGLE layer: less than half as many again, so padded to 13
        (20, 30, (20, 1, 2)),  # named there as the case that is not ideal
        (0, 32, (32, 0, 1)),  # Mistral 7B v0.1
        (32, 0, (32, 1, 0)),
    ],
)
def test_groups_are_those_of_vllm(full: int, sliding: int, expected: tuple[int, int, int]) -> None:
    groups = kv_groups(layers(full, sliding))
    assert (groups.layers, groups.full, groups.sliding) == expected


def test_one_group_without_a_hybrid_manager() -> None:
    assert kv_groups(layers(10, 20), hybrid=False) == KVGroups(30)


def test_vllm_s_example_takes_eleven_blocks() -> None:
    """10 full and 20 sliding layers, blocks of 16, a window of 32, a request of 112 tokens: 7 + 2 + 2 blocks."""
    cache = HybridPaged(kv_groups(layers(10, 20, window=32))).build(KVRoom(100, 16, 4096, False))
    assert cache.blocks_for(112) == 11


@pytest.mark.parametrize(("in_flight", "blocks"), [(1024, 129), (2048, 193)])
def test_most_blocks_of_a_window(in_flight: int, blocks: int) -> None:
    """vLLM's own test of the admission cap: a window of 1024, batches of 1024 tokens, one and two of them in flight."""
    groups = KVGroups(1, 1, 1, 1024, in_flight)
    assert groups.most_sliding_blocks(16384, 16) == blocks


def test_padding_and_concurrency_that_a_real_engine_logged() -> None:
    """google/gemma-3-4b-it (29 sliding and 5 full layers) in vLLM 0.11 on an A100, as a user of kvcached posted it.

    "Add 1 padding layers, may waste at most 3.45% KV cache memory"; "GPU KV cache size: 317,136 tokens"; "Maximum
    concurrency for 3,072 tokens per request: 102.78x". The size is blocks // groups x 16, so it tells the blocks to 7.
    """
    groups = kv_groups(layers(5, 29), in_flight_tokens=2048)
    assert (groups.count, groups.slots - 34) == (7, 1)
    assert round(100 * (groups.slots - 34) / 29, 2) == 3.45
    for blocks in range(317_136 // 16 * 7, (317_136 // 16 + 1) * 7):
        assert round(blocks / groups.request_blocks(3072, 16), 2) == 102.78


def gemma(**more: Any) -> HybridMemorySplit:
    model = parse(GEMMA_2_9B, name="gemma", source="test")
    split = split_memory(model, hardware.load("h100-sxm"), hybrid_in_flight=16384, **more)
    assert isinstance(split, HybridMemorySplit)
    return split


def test_half_of_gemma_2_keeps_a_window() -> None:
    """21 layers a group: 16 tokens x 21 x 2 x 8 heads x 256 x 2 bytes = 2,752,512 bytes a block; two for 16 tokens."""
    split = gemma()
    assert split.bytes_per_block == 2_752_512
    assert split.request_blocks(8192) == 512 + (8192 // 16 + 1)  # a window and what is in flight is more than all
    assert split.usable_tokens == (split.num_gpu_blocks - 1) // 2 * 16
    text = split.explain()
    assert "2 groups of 21 layers" in text
    assert "1 of a 4,096-token window" in text
    plain = split_memory(parse(GEMMA_2_9B, name="gemma", source="test"), hardware.load("h100-sxm"))
    assert plain.num_gpu_blocks == split.num_gpu_blocks // 2  # the same bytes in blocks twice as large
    assert plain.kv_bytes == split.kv_bytes


def test_a_window_in_all_layers_lets_any_length_in() -> None:
    """Mistral 7B v0.1: a window of 4096 and 2048 tokens in flight are 385 blocks, however long the request."""
    model = parse(MISTRAL_V01, name="mistral", source="test")
    few: dict[str, Any] = {"num_gpu_blocks": 386, "max_model_len": 32768}
    split = split_memory(model, hardware.load("h100-sxm"), hybrid_in_flight=2048, **few)
    assert split.request_blocks(32768) == 385
    with pytest.raises(CapacityError, match="lower max_model_len to at most 6160"):
        split_memory(model, hardware.load("h100-sxm"), **few)


def test_a_long_request_holds_no_more_than_its_window_and_a_batch() -> None:
    """A window of 1024 and batches of 512: at most 1024 - 1 + 512 tokens in 97 blocks, where 20,000 tokens are 1250."""
    groups = KVGroups(32, 0, 1, 1024, 512)
    served = engine(kv_cache=HybridPaged(groups), window=1024, num_gpu_blocks=98, max_model_len=32768,
                    max_num_batched_tokens=512, enable_prefix_caching=False)  # fmt: skip
    served.add(Request(0, 0.0, 20_000, 300))
    used = []
    while not served.is_idle:
        plan = served.schedule()
        used.append(served.kv.used_blocks)
        served.complete(plan)
        served.check()
    assert max(used) in (96, 97)
    assert used[-1] in (64, 65)  # 1023 tokens back and itself, wherever the blocks begin


@pytest.mark.parametrize("group_decodes", [True, False])
@pytest.mark.parametrize(("full", "sliding"), [(1, 2), (0, 1)])
def test_held_blocks_are_those_of_the_definition(full: int, sliding: int, group_decodes: bool) -> None:
    """In every step, for every request: all blocks in full groups; in sliding ones, from that of the window's first.

    The window of the next token begins window - 1 tokens before the tokens that were there before the step.
    """
    rng = random.Random(5)
    window, size = 40, 16
    served = engine(group_decodes=group_decodes, kv_cache=HybridPaged(KVGroups(4, full, sliding, window, 64)),
                    window=window, num_gpu_blocks=2000, max_num_batched_tokens=64,
                    enable_prefix_caching=False)  # fmt: skip
    requests = [Request(i, 0.0, rng.randint(1, 200), rng.randint(1, 120)) for i in range(20)]
    for request in requests:
        served.add(request)
    done = dict.fromkeys(requests, 0)
    while not served.is_idle:
        plan = served.schedule()
        expected = 0
        for request in served.running:
            before = done[request]
            chunk = next((new for who, new, _ in plan.chunks if who is request), 0)
            done[request] += chunk or (1 if plan.decodes and served.decodes(request) else 0)
            blocks = -(-done[request] // size)
            expected += full * blocks + sliding * (blocks - max(0, before - window + 1) // size)
        assert served.kv.used_blocks == expected
        served.complete(plan)
        served.check()


def cached(window: int, full: int, tokens: set[int]) -> tuple[HybridKVCache, Request]:
    """A cache of one-token blocks in which the sliding group has those of a 15-token prompt, and full ones all."""
    cache = HybridPaged(KVGroups(1, full, 1, window, 64)).build(KVRoom(100, 1, 4096, True))
    request = Request(0, 0.0, 15, 1, segments=(("text", 15),))
    for place, key in enumerate(cache.keys.of(request)):
        for group in range(full + 1):
            if group < full or place in tokens:
                block = Block((group, key))  # type: ignore[arg-type]
                block.holders = 0
                cache.index[group, key] = [block]
                cache.cached[block] = None
                cache.unkeyed_blocks -= 1
    return cache, request


@pytest.mark.parametrize("full", [0, 1])
def test_a_prefix_is_hit_where_a_window_before_its_end_is_cached(full: int) -> None:
    """The example of vLLM's design document: a window of 4, blocks of one token, a prompt of 15.

    Tokens [11, 12, 13] give a hit of 14, [3, 4, 5] of 6 and [2, 3, 4] of 5; a beginning needs no whole window.
    """
    for tokens, hit in (
        ({2, 3, 4, 5, 11, 12, 13}, 14),
        ({2, 3, 4, 5, 11, 12}, 6),
        ({2, 3, 4, 11, 13}, 5),
        ({0, 1, 3, 4}, 2),
        ({1, 2, 4}, 0),
    ):
        cache, request = cached(4, full, tokens)
        found = cache.lookup(request)
        assert found.tokens == hit
        assert found.evictable_blocks == full * hit + min(hit, 3)
        assert (found is MISS) is (hit == 0)


def test_what_left_the_window_is_found_by_others_until_it_is_evicted() -> None:
    """A prompt of 10 blocks in a window of 2: its sliding blocks are cached, though it holds few of them."""
    groups = KVGroups(1, 1, 1, 32, 64)
    served = engine(kv_cache=HybridPaged(groups), window=32, num_gpu_blocks=101, max_num_batched_tokens=64)
    text = (("text", 160),)
    steps_of(served, [Request(0, 0.0, 160, 3, segments=text)])
    again = Request(1, 0.0, 160, 3, segments=text)
    hit = served.kv.lookup(again)
    assert hit.tokens == 144  # the last token is computed again, and with it its block
    assert hit.evictable_blocks == 9 + 2  # the full group's nine; of the sliding one's the window before token 144
    half = Request(2, 0.0, 81, 3, segments=(("text", 80), ("own", 1)))
    assert served.kv.lookup(half).tokens == 80


def test_a_preempted_request_finds_its_own_blocks() -> None:
    served = engine(kv_cache=HybridPaged(KVGroups(1, 1, 1, 32, 64)), window=32, num_gpu_blocks=101,
                    max_num_batched_tokens=64)  # fmt: skip
    request = Request(0, 0.0, 64, 50)
    served.add(request)
    for _ in range(8):  # one prefill step, then seven tokens: 71 computed
        served.complete(served.schedule())
    plan = served.schedule()
    served.dissolve_decoders(plan)
    served.preempt(request, plan)
    hit = served.kv.lookup(request)
    assert hit.tokens == 64
    served.check()


def test_random_work_keeps_the_books() -> None:
    """Shared prompts, named answers, little memory, steps decided ahead or not: INV-2 holds after every step."""
    for seed in range(40):
        rng = random.Random(seed)
        ahead, caching = seed % 2 == 0, seed % 4 < 2
        served = engine(kv_cache=HybridPaged(KVGroups(4, 1, 2, 32, 128)), window=32, max_model_len=400,
                        num_gpu_blocks=rng.choice((90, 300)), max_num_batched_tokens=64,
                        enable_prefix_caching=caching)  # fmt: skip
        waiting = []
        for i in range(15):
            prompt = rng.randint(1, 200)
            shared = rng.randint(1, prompt)
            segments: Any = ((rng.choice("abc"), shared), (f"own {i}", prompt - shared)) if rng.random() < 0.5 else None
            name = f"answer {i}" if segments and rng.random() < 0.3 else None
            waiting.append(Request(i, 0.0, prompt, rng.randint(1, 150), segments=segments, output_name=name))
        flight: Any = None
        while waiting or flight or not served.is_idle:
            if waiting and rng.random() < 0.3:
                served.add(waiting.pop())
            plan = None if served.is_idle else served.schedule()
            launched = (plan, served.launch(plan)) if plan is not None and not plan.is_empty else None
            for landing in (flight, launched if not ahead else None):
                if landing is not None:
                    served.land(*landing)
            flight = launched if ahead else None
            served.check()
