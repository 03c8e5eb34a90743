"""Swapping and offload: hand-worked steps, a plain second implementation of the tiers, and what comes of them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim
from sim import hardware
from sim.cluster.host_link import HostLink
from sim.errors import ScenarioError
from sim.kvcache.paged import Paged
from sim.kvcache.protocol import KVRoom
from sim.kvcache.radix import Radix
from sim.kvcache.tiers.offload import Offloading, OffloadingKVCache
from sim.kvcache.tiers.swap import Swapping
from sim.kvcache.tiers.transfers import Moved
from sim.latency.linear import Linear
from sim.request import Request, Segments
from tests.serving import engine, serve, steps_of, table

LIMITS: dict[str, Any] = {"block_size": 4, "num_gpu_blocks": 5, "enable_prefix_caching": False}


@pytest.mark.parametrize("group_decodes", [True, False])
def test_a_swapped_request_goes_on_where_it_was(group_decodes: bool) -> None:
    """As test_preemption_by_recomputation: in step 2 the second of two requests of 7 tokens loses its two blocks.

    It has computed 8 of 9 known tokens. When the first is done, in step 5, two blocks come back in step 6, which
    computes the ninth token and nothing again.
    """
    first, second = Request(0, 0.0, 7, 6), Request(1, 0.0, 7, 3)
    replica = engine(group_decodes=group_decodes, kv_cache=Swapping(Paged(), 100), **LIMITS)
    plans = steps_of(replica, [first, second])
    assert [plan.preempted for plan in plans] == [[], [], [second], [], [], [], []]
    assert [(chunk.new_tokens, chunk.computed_before) for chunk in plans[6].chunks] == [(1, 8)]
    assert (second.preemptions, second.recomputed_tokens, second.cached_tokens) == (1, 0, 0)
    moved = replica.kv.transfers
    assert moved is not None
    assert (moved.swapped_out_blocks, moved.swapped_in_blocks) == (2, 2)


def test_steps_wait_for_what_is_swapped() -> None:
    """Steps of 1 s; a block takes 0.25 s: step 2 begins with two going out, step 6 with two coming in."""
    requests = table([0.0, 0.0], [7, 7], [6, 3])
    record = serve(
        requests, Linear(1.0, 0, 0).build(), limits=LIMITS, kv_cache=Swapping(Paged(), 100),
        host_link=HostLink(bytes_per_block=4, bytes_per_s=16),
    )  # fmt: skip
    assert record.requests["finish_s"].tolist() == [6.5, 8.0]
    assert record.steps["transfer_s"].sum() == 1.0
    # The gap before the last token of the second: step 2, when it lost its blocks, to the end of step 6.
    assert record.requests["first_token_s"].tolist() == [1.0, 1.0]


def test_without_room_in_the_swap_space_a_request_is_recomputed() -> None:
    requests = [Request(0, 0.0, 7, 6), Request(1, 0.0, 7, 3)]
    replica = engine(kv_cache=Swapping(Paged(), 1), **LIMITS)
    steps_of(replica, requests)
    assert requests[1].recomputed_tokens == 8
    assert replica.kv.transfers is not None
    assert replica.kv.transfers.totals() == {
        "swapped_out_blocks": 0, "swapped_in_blocks": 0, "recomputed_instead": 1, "kept_blocks": 0,
        "host_hit_blocks": 0, "disk_hit_blocks": 0,
    }  # fmt: skip


def test_what_the_gpu_still_holds_is_not_loaded() -> None:
    """With prefix caching one of the second's two blocks is still there when it comes back; one is loaded."""
    requests = [Request(0, 0.0, 7, 6), Request(1, 0.0, 7, 3)]
    replica = engine(kv_cache=Swapping(Paged(), 100), **LIMITS | {"enable_prefix_caching": True})
    steps_of(replica, requests)
    assert requests[1].recomputed_tokens == 0
    assert replica.kv.transfers is not None
    assert (replica.kv.transfers.swapped_out_blocks, replica.kv.transfers.swapped_in_blocks) == (2, 1)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_what_goes_out_comes_in_once(data: st.DataObject) -> None:
    """Without prefix caching and with room for all: every block that went out came in, and nothing is recomputed."""
    count = data.draw(st.integers(2, 8))
    prompts = data.draw(st.lists(st.integers(1, 30), min_size=count, max_size=count))
    answers = data.draw(st.lists(st.integers(1, 60), min_size=count, max_size=count))
    block = data.draw(st.sampled_from([1, 4]))
    requests = [Request(id, 0.0, *lengths) for id, lengths in enumerate(zip(prompts, answers, strict=True))]
    inner: Any = data.draw(st.sampled_from([Paged(), Radix()]))
    replica = engine(
        group_decodes=data.draw(st.booleans()), kv_cache=Swapping(inner, 10**6),
        block_size=block, num_gpu_blocks=1 + -(-100 // block), max_model_len=100, enable_prefix_caching=False,
    )  # fmt: skip
    steps_of(replica, requests)
    assert replica.is_idle
    assert [request.recomputed_tokens for request in requests] == [0] * count
    assert replica.kv.transfers is not None
    assert replica.kv.transfers.swapped_out_blocks == replica.kv.transfers.swapped_in_blocks
    assert replica.kv.free_swap_blocks == 10**6  # type: ignore[attr-defined]


def test_the_slower_of_link_and_disk_counts() -> None:
    """Two GPUs: each moves 6 blocks of 100 bytes at 200 bytes/s; the disk feeds both with 2 each at 80 bytes/s."""
    link = HostLink(bytes_per_block=100, bytes_per_s=200, disk_bytes_per_s=80, gpus=2)
    assert link.seconds(Moved(to_host=3, from_host=1, from_disk=2)) == 5.0
    assert link.seconds(Moved(to_host=3, from_host=3)) == 3.0


class PlainTiers:
    """GPU, host and disk as lists of block contents, the least recently used first."""

    def __init__(self, gpu: int, host: int, disk: int) -> None:
        self.room = (gpu, host, disk)
        self.cached: list[Any] = []  # on the GPU, held by nobody
        self.held: dict[int, list[Any]] = {}
        self.host: list[Any] = []
        self.disk: list[Any] = []

    def free(self) -> int:
        return self.room[0] - len({content for blocks in self.held.values() for content in blocks})

    def on_gpu(self, content: Any) -> bool:
        return content in self.cached or any(content in blocks for blocks in self.held.values())

    def found(self, contents: list[Any]) -> tuple[int, int, int]:
        """Blocks on the GPU, in host memory, on disk, of an unbroken beginning."""
        gpu = 0
        while gpu < len(contents) and self.on_gpu(contents[gpu]):
            gpu += 1
        last = gpu
        while last < len(contents) and contents[last] in self.host + self.disk:
            last += 1
        from_host = sum(content in self.host for content in contents[gpu:last])
        return gpu, from_host, last - gpu - from_host

    def keep(self, content: Any) -> None:
        for tier in (self.host, self.disk):
            if content in tier:
                tier.remove(content)
        self.host.append(content)
        if len(self.host) > self.room[1]:
            self.disk.append(self.host.pop(0))
        if len(self.disk) > self.room[2]:
            self.disk.pop(0)

    def admit(self, id: int, contents: list[Any], findable: int) -> None:
        gpu, host, disk = self.found(contents[:findable])
        self.held[id] = contents[:gpu]
        self.cached = [content for content in self.cached if content not in contents[:gpu]]
        for content in reversed(contents[gpu : gpu + host + disk]):
            self.keep(content)
        for content in contents[gpu:]:
            while len({c for blocks in self.held.values() for c in blocks}) + len(self.cached) >= self.room[0]:
                self.keep(self.cached.pop(0))
            self.held[id].append(content)

    def leave(self, id: int) -> None:
        gone = self.held.pop(id)
        others = [content for blocks in self.held.values() for content in blocks]
        self.cached += [content for content in reversed(gone) if content not in others]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_tiers_as_the_plain_implementation(data: st.DataObject) -> None:
    """Whole blocks of one token, so that every block has a content; one request computes a content at a time."""
    gpu, host, disk = (data.draw(st.integers(least, 12)) for least in (6, 0, 0))
    cache = Offloading(host, disk).build(KVRoom(gpu, 1, gpu, True))
    plain = PlainTiers(gpu, host, disk)
    running: list[Request] = []
    for id in range(data.draw(st.integers(1, 40))):
        if running and data.draw(st.booleans()):
            leaver = running.pop(data.draw(st.integers(0, len(running) - 1)))
            cache.free(leaver)
            plain.leave(leaver.id)
        else:
            piece = st.tuples(st.sampled_from("ab"), st.integers(1, 4))
            segments: Segments = (*data.draw(st.lists(piece, min_size=1, max_size=2)), (f"own{id}", 1))
            tokens = [(name, offset) for name, length in segments for offset in range(length)]
            contents = [tuple(tokens[: end + 1]) for end in range(len(tokens))]
            request = Request(id, 0.0, len(tokens), 1, segments=segments)
            hit = cache.lookup(request)
            found = plain.found(contents[:-1])
            assert (hit.tokens, hit.blocks) == (sum(found), found[0])
            if cache.can_admit(request, hit, len(tokens), 0):
                before = cache.transfers.totals()
                cache.adopt(request, hit)
                loaded = [cache.transfers.totals()[n] - before[n] for n in ("host_hit_blocks", "disk_hit_blocks")]
                assert loaded == list(found[1:])
                cache.grow(request, len(tokens) - hit.tokens)
                plain.admit(id, contents, len(contents) - 1)
                running.append(request)
        assert cache.free_blocks == plain.free()
        assert (cache.host.used, cache.disk.used) == (len(plain.host), len(plain.disk))
        cache.check([(request, request.computed_tokens) for request in running])


def test_offload_needs_a_prefix_cache() -> None:
    with pytest.raises(ScenarioError, match="enable_prefix_caching"):
        Offloading(10).build(KVRoom(10, 1, 10, False))


SHARED = {
    "model": "llama-3.1-8b",
    "cluster": {"gpu": "l4"},
    "engine": {"max_model_len": 4096, "num_gpu_blocks_override": 600, "max_num_batched_tokens": 2048},
    "workload": {
        "arrivals": {"poisson": {"rate_per_s": 0.5}},
        "prompt_tokens": {"fixed": {"tokens": 200}},
        "output_tokens": {"fixed": {"tokens": 20}},
        "prefix": {"shared_prefix": {"groups": 12, "shared_tokens": 2000}},
        "requests": 150,
    },
}


def test_prefixes_are_loaded_where_the_gpu_has_no_room_for_all() -> None:
    """Twelve system prompts of 2000 tokens, on a GPU that holds four of them: the others wait in host memory."""
    alone = sim.run(SHARED).summary
    host = sim.run(SHARED, overrides=["engine.kv_offload={host: 16GiB}"]).summary
    disk = sim.run(SHARED, overrides=["engine.kv_offload={host: 1GiB, disk: 64GiB, disk_bytes_per_s: 3GB}"]).summary
    assert alone["kv_transfers"] is None
    assert host["prefix_cache_hit_rate"] > 0.8 > 0.6 > alone["prefix_cache_hit_rate"]
    assert host["kv_transfers"]["host_hit_tokens"] > 0 == host["kv_transfers"]["disk_hit_tokens"]
    assert disk["kv_transfers"]["disk_hit_tokens"] > 0
    assert host["mean_ttft_ms"] < disk["mean_ttft_ms"] < alone["mean_ttft_ms"]
    # Tokens of 131,072 bytes over PCIe, of which 0.8 is reached.
    assert host["gpu_time"]["seconds"]["transfer"] == pytest.approx(
        host["kv_transfers"]["host_hit_tokens"] * 131072 / (0.8 * hardware.load("l4").pcie_bandwidth_bytes_per_s),
        rel=1e-6,
    )


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ({"preemption": "swap", "kv_cache": "contiguous"}, "nobody is preempted"),
        ({"swap_space": "4GiB"}, "preemption: swap"),
        ({"kv_offload": {"host": "4GiB"}, "kv_cache": "radix"}, "kv_cache: paged"),
        ({"kv_offload": {"host": "4GiB"}, "enable_prefix_caching": False}, "enable_prefix_caching"),
        ({"kv_offload": {"host": "4GiB", "disk": "1TiB"}}, "disk_bytes_per_s"),
    ],
)
def test_what_does_not_go_together_is_refused(engine: dict[str, Any], says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        sim.run(SHARED | {"engine": {"max_model_len": 4096, **engine}})


def test_offloading_cache_is_what_a_scenario_builds() -> None:
    assert isinstance(Offloading(1).build(KVRoom(10, 1, 10, True)), OffloadingKVCache)
